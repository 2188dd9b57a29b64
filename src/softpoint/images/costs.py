"""Bounds on what an image file may cost: parts and pixels, counted before a decoder would spend minutes on them."""

from __future__ import annotations

import re
import struct
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFile

from softpoint.images.decode_errors import RefusedError

# The default of data.max_pixels: a larger image is treated as a decompression bomb.
MAX_PIXELS = 100_000_000

# Scans of a JPEG, each of which passes over all pixels for as little as 42 bytes. Programs write up to 20.
MAX_SCANS = 50

# Parts and bytes before the pixels of a JPEG, of which Pillow's reader is slow or copies them again and again.
_JPEG_PARTS, _JPEG_HEADER, _JPEG_FILL = 1000, 1 << 24, 10_000

_GIF_PARTS, _GIF_COMMENTS = 1_000_000, 1 << 16  # Pillow copies all comments for each
_NETPBM_HEADER = 1 << 16  # which Pillow reads byte by byte
# Pages, for which Pillow takes time by their square, and numbers in one field, such as the places of strips.
_TIFF_PAGES, _TIFF_NUMBERS = 20_000, 200_000

# Times that a pixel costs more time or memory than one of a PNG, by format or by Pillow's decoder, which is Python in
# three cases; and bytes that a pixel may take there.
_COSTS = {"WEBP": 2, "JPEG2000": 4, "bmp_rle": 8, "ppm": 20, "ppm_plain": 100}
_BYTES_PER_PIXEL, _BYTES = 20, 1 << 20

# Times that a pixel may cost more than usual ones of its kind where a file is made for it, and scans that cost as much
# as a PNG; of TIFFs in the compressions below, none. Beyond MAX_PIXELS times all that, an image is decoded apart.
_WORST = {"JPEG2000": 25, "AVIF": 25, "HEIF": 25, "JPEG": 5, "TIFF": 20}
_USUAL_TIFF = ("raw", "tiff_lzw", "packbits", "tiff_deflate", "tiff_adobe_deflate")
_USUAL_SCANS = 10
_WIDE = 3  # of values of 16 bits

# Bytes that an image may take while it is decoded, as data.max_pixels is by default.
_MEMORY = 1 << 30

_MARKER = re.compile(rb"\xff[^\xff\0\xd0-\xd7]", re.DOTALL)
_SOS, _EOI, _ALONE = 0xDA, 0xD9, (0x01, 0xD8)


def check_parts(file: BinaryIO) -> None:
    """Raise ValueError for a file of so many parts that opening it would take long."""
    file.seek(0)
    magic = file.read(4)
    file.seek(0)
    if magic.startswith(b"\xff\xd8"):
        check_jpeg(file.read())
    elif magic.startswith(b"GIF8"):
        _check_gif(file.read())
    elif magic.startswith(b"P"):
        _check_netpbm(file.read(_NETPBM_HEADER))
    elif magic in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        _check_tiff(file)
    file.seek(0)


def check_pixels_of(image: Image.Image, file: BinaryIO, max_pixels: int) -> None:
    """Raise ValueError for an open image whose format costs more per pixel than `max_pixels` is meant for."""
    codec = image.tile[0].codec_name if isinstance(image, ImageFile.ImageFile) and image.tile else ""
    times = max(_COSTS.get(image.format or "", 1), _COSTS.get(codec, 1))
    pixels, allowed = image.width * image.height, max(max_pixels, MAX_PIXELS) // times
    if times > 1 and pixels > allowed:
        raise RefusedError(
            f"image {{path}} is {image.width} wide and {image.height} high; a {image.format} of this kind costs"
            f" {times} times as much as a PNG, and {allowed} pixels are the limit: convert it to PNG, or set"
            f" data.max_pixels={pixels * times}"
        )
    length = file.seek(0, 2)
    if codec in _COSTS and length > _BYTES_PER_PIXEL * pixels + _BYTES:
        raise ValueError(f"it has {length} bytes, far more than its {pixels} pixels take")


def is_costly(pixels: int, scans: int = 1) -> bool:
    """Return whether a JPEG of so many scans, or a PNG, may take longer than the largest PNG by default.

    >>> is_costly(MAX_PIXELS), is_costly(MAX_PIXELS // 4, 50)
    (False, True)
    """
    return pixels * -(-scans // _USUAL_SCANS) > MAX_PIXELS


def is_costly_image(image: Image.Image) -> bool:
    """Return whether an open image may take longer than the largest PNG by default."""
    kind = image.format or ""
    is_wide = image.mode[0] in "IF" or "16" in str(getattr(image, "tile", ""))
    worst = _WORST.get(kind, 1)
    if kind == "TIFF" and image.info.get("compression") in _USUAL_TIFF:
        worst = _WIDE if is_wide else 1
    return image.width * image.height * worst > MAX_PIXELS


def max_bytes(max_pixels: int) -> int:
    """Return the memory that an image may take where images may have `max_pixels`."""
    return int(_MEMORY * max(1.0, max_pixels / MAX_PIXELS))


def check_memory(pixels: int, each: int, length: int, max_pixels: int) -> None:
    """Raise ValueError where a file of a `length`, with `each` byte of a pixel, takes more memory than it may."""
    size, allowed = each * pixels + length, max_bytes(max_pixels)
    if size > allowed:
        raise RefusedError(
            f"image {{path}} takes {size >> 20} MiB while it is decoded, and {allowed >> 20} MiB are the limit: save it"
            f" again with 8 bits, or smaller, or set data.max_pixels={-(-size * MAX_PIXELS // _MEMORY)}"
        )


def check_jpeg(data: bytes) -> None:
    """Raise ValueError for a JPEG of too many scans or other parts.

    >>> check_jpeg(b"\\xff\\xd8" + b"\\xff\\xda\\0\\2" * 51 + b"\\xff\\xd9")
    Traceback (most recent call last):
    ValueError: it has more than 50 scans, each of which takes as long as an image; save it again as a usual JPEG
    """
    place, parts, scans, fill = 2, 0, 0, 0
    while (match := _MARKER.search(data, place)) and (marker := data[match.start() + 1]) != _EOI:
        parts += 1
        scans += marker == _SOS
        fill += 0 if scans else match.start() - place
        if scans > MAX_SCANS:
            message = f"it has more than {MAX_SCANS} scans, each of which takes as long as an image"
            raise ValueError(f"{message}; save it again as a usual JPEG")
        if parts > _JPEG_PARTS or fill > _JPEG_FILL or (not scans and match.start() > _JPEG_HEADER):
            raise ValueError(f"it has more than {_JPEG_PARTS} parts, or {_JPEG_HEADER} bytes before its pixels")
        place = match.end()
        place += 0 if marker in _ALONE else int.from_bytes(data[place : place + 2], "big")


def most_scans(data: bytes, start: int) -> int:
    """Return how many scans the bytes from `start` on hold at most, which `check_jpeg` counts exactly."""
    return data.count(b"\xff\xda", start)


def _check_gif(data: bytes) -> None:
    flags = data[10] if len(data) > 10 else 0
    place, parts, comments = 13 + _gif_table(flags), 0, 0
    while place < len(data) and (kind := data[place : place + 1]) != b";":
        parts += 1
        is_comment = data[place : place + 2] == b"!\xfe"
        if kind == b",":
            place += 11 + _gif_table(data[place + 9] if place + 9 < len(data) else 0)
        else:
            place += 2 if kind == b"!" else 1
        while kind in (b",", b"!") and place < len(data) and parts <= _GIF_PARTS:
            length, parts = data[place], parts + 1
            place += 1 + length
            comments += length + 1 if is_comment else 0
            if not length:
                break
        if parts > _GIF_PARTS or comments > _GIF_COMMENTS:
            raise ValueError(f"it has more than {_GIF_PARTS} parts, or {_GIF_COMMENTS} bytes of comments")


def _gif_table(flags: int) -> int:
    """Return the bytes of a table of colors."""
    return 3 << (flags & 7) + 1 if flags & 128 else 0


def _check_netpbm(head: bytes) -> None:
    words = re.sub(rb"#[^\r\n]*", b"", head).split(None, 4)
    if len(head) == _NETPBM_HEADER and len(words) < 4:  # kind, width, height, and what follows
        raise ValueError(f"its header has more than {_NETPBM_HEADER} bytes")


def _check_tiff(file: BinaryIO) -> None:
    """Raise ValueError for pages that refer to too many numbers, which Pillow reads again for each page."""
    head, end = file.read(16).ljust(16, b"\0"), file.seek(0, 2)
    order, is_big = ("<" if head[:1] == b"I" else ">"), b"+" in head[2:4]
    short, wide = f"{order}u2", "8" if is_big else "4"
    kind = np.dtype([("tag", short), ("type", short), ("count", f"{order}u{wide}"), ("at", f"V{wide}")])
    number, link = ("Q", "Q") if is_big else ("H", "I")
    place, referred = struct.unpack(order + link, head[8:16] if is_big else head[4:8])[0], 0
    seen: set[int] = set()
    while place and place not in seen and len(seen) < _TIFF_PAGES:
        seen.add(place)
        count, fields = _tiff_fields(file, place, order + number, kind)
        numbers = fields["count"][~np.isin(fields["type"], (1, 2, 6, 7))]  # bytes and text are read at once
        referred += len(fields) + int(numbers.sum(dtype=np.float64))
        if numbers.max(initial=0) > _TIFF_NUMBERS or referred > _TIFF_NUMBERS + end:
            raise ValueError(f"a page has more than {_TIFF_NUMBERS} strips, or all of them more than the file holds")
        rest = file.read(struct.calcsize(link))
        if len(fields) < count or len(rest) < struct.calcsize(link):
            return
        place = struct.unpack(order + link, rest)[0]
    if len(seen) == _TIFF_PAGES:
        raise ValueError(f"it has {_TIFF_PAGES} pages or more; write them as several files, or as a video")


def _tiff_fields(file: BinaryIO, place: int, count: str, kind: Any) -> tuple[int, np.ndarray]:
    """Return the number of fields of the page at `place`, and those that are there."""
    file.seek(min(place, 1 << 62))
    head = file.read(struct.calcsize(count))
    number = struct.unpack(count, head)[0] if len(head) == struct.calcsize(count) else 0
    data = file.read(min(number, 1 << 16) * kind.itemsize)
    return number, np.frombuffer(data[: len(data) // kind.itemsize * kind.itemsize], kind)
