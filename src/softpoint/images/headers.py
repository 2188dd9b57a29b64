"""What the header of a JPEG or PNG file says, read without its pixels, and how an image is turned upright."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

_ORIENTATION = 0x0112  # EXIF's tag

# More parts than any honest file has before its pixels, or of 8 KiB with them.
_SEGMENTS, _CHUNKS = 1000, 1_000_000

# Starts of frames that hold Huffman-coded samples of 8 or 12 bits; the rest are lossless, arithmetic or hierarchical.
_FRAMES, _OTHER_FRAMES = (0xC0, 0xC1, 0xC2), (0xC3, 0xC5, 0xC6, 0xC7, *range(0xC9, 0xCC), *range(0xCD, 0xD0))


class Header(NamedTuple):
    """Size of the pixels as they lie in the file, and how they are to be turned."""

    height: int
    width: int
    orientation: int  # EXIF's: 1 upright, 2 to 8 mirrored or turned
    scan: int  # where the first scan of a JPEG begins, in bytes; 0 for a PNG


def read_header(file: BinaryIO) -> Header | None:
    """The header of a common JPEG or PNG; None for all other files, the unusual and most damaged ones among them.

    Raises ValueError for a PNG that ends before its end.
    """
    file.seek(0)
    magic = file.read(8)
    if magic == b"\x89PNG\r\n\x1a\n":
        return _png(file)
    file.seek(2)
    return _jpeg(file) if magic.startswith(b"\xff\xd8") else None


def orientation(exif: bytes) -> int:
    """1 to 8 from the bytes of an EXIF block; 1 where it states none, or is damaged.

    >>> orientation(b"Exif\\0\\0MM\\0*\\0\\0\\0\\10\\0\\1\\1\\22\\0\\3\\0\\0\\0\\1\\0\\6\\0\\0\\0\\0\\0\\0")
    6
    """
    try:
        tags = Image.Exif()
        tags.load(exif)
        return known(tags.get(_ORIENTATION))
    except Exception:  # a parser of untrusted bytes raises nearly anything
        return 1


def known(value: object) -> int:
    """An orientation; 1 for what is none."""
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels (H, W, 3) as `orientation` shows them.

    >>> turned(np.array([[[1], [2]]]), 6)[..., 0].tolist()
    [[1], [2]]
    >>> turned(np.array([[[1], [2]]]), 3)[..., 0].tolist()
    [[2, 1]]
    """
    if orientation in (3, 4, 6, 7):
        pixels = pixels[::-1]
    if orientation in (2, 3, 7, 8):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels.swapaxes(0, 1) if orientation >= 5 else pixels)


def _jpeg(file: BinaryIO) -> Header | None:
    size, turn = None, 1
    for marker, length in _segments(file):
        if marker == 0xDA:
            return Header(*size, turn, file.tell()) if size else None
        if marker in _OTHER_FRAMES:
            return None
        start = file.tell()
        if marker in _FRAMES:
            frame = file.read(6)
            size = (int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big"))
            # Four components are CMYK; a height of 0 is told after the pixels.
            if len(frame) < 6 or frame[0] != 8 or frame[5] not in (1, 3) or not all(size):
                return None
        if marker == 0xE1 and (block := file.read(length)).startswith(b"Exif\0\0"):
            turn = orientation(block)
        file.seek(start + length)
    return None


def _segments(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Each marker with the number of bytes that follow its length, the file standing there."""
    for _ in range(_SEGMENTS):
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] in (0x00, 0xFF) or (length := head[2] << 8 | head[3]) < 2:
            return
        yield head[1], length - 2


def _png(file: BinaryIO) -> Header | None:
    head, turn = file.read(21), 1
    width, height = int.from_bytes(head[8:12], "big"), int.from_bytes(head[12:16], "big")
    if head[:8] != b"\0\0\0\x0dIHDR" or not (width and height):
        return None
    for kind, length in _chunks(file):
        if kind == b"acTL":  # animated
            return None
        if kind == b"eXIf":
            turn = orientation(file.read(length))
    return Header(height, width, turn, 0)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Kind and length of each part after the first, the file standing at its content; ValueError for a cut file."""
    place = file.tell()
    end = file.seek(0, 2)
    for _ in range(_CHUNKS):
        place += 4  # the checksum of the part before
        file.seek(place)
        head = file.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        place += 8 + length
        # OpenCV takes as much memory as a part says it needs, whether it is there or not.
        if place + 4 > end:
            raise ValueError("it is truncated or damaged")
        if kind == b"IEND":
            return
        yield kind, length
    raise ValueError(f"it has more than {_CHUNKS} parts")
