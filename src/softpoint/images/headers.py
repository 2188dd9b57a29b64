"""Headers of JPEG and PNG files, read without their pixels, and EXIF orientations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

EXIF_ORIENTATION = 0x0112  # EXIF's tag

# Upper limits of parts: before the pixels of a JPEG, in a PNG; and of bytes of compressed texts in a PNG, which
# decoders expand by up to 1000 times.
_SEGMENTS, _CHUNKS, _TEXTS = 1000, 100_000, 1 << 18

_GRAY = 0  # color type of a PNG

# Starts of frames that hold Huffman-coded samples of 8 or 12 bits; the rest are lossless, arithmetic or hierarchical.
_FRAMES, _OTHER_FRAMES = (0xC0, 0xC1, 0xC2), (0xC3, 0xC5, 0xC6, 0xC7, *range(0xC9, 0xCC), *range(0xCD, 0xD0))


class Header(NamedTuple):
    """Size of the pixels in the file, and their orientation."""

    height: int
    width: int
    orientation: int  # EXIF's: 1 upright, 2 to 8 mirrored or turned
    scan: int  # where the first scan of a JPEG begins, in bytes; 0 for a PNG
    is_wide: bool = False  # values have more than 8 bits
    is_gray: bool = False  # a PNG without colors and transparency


def read_header(file: BinaryIO) -> Header | None:
    """Return the header of a common JPEG or PNG; None for other files, the unusual and most damaged ones among them.

    Raises ValueError for a PNG that ends before its end, and for an animated one with colors of 16 bits.
    """
    file.seek(0)
    magic = file.read(8)
    if magic == b"\x89PNG\r\n\x1a\n":
        return _png(file)
    file.seek(2)
    return _jpeg(file) if magic.startswith(b"\xff\xd8") else None


def orientation(exif: bytes) -> int:
    """Return the orientation, 1 to 8, of an EXIF block; 1 where it states none, or is damaged.

    >>> orientation(b"Exif\\0\\0MM\\0*\\0\\0\\0\\10\\0\\1\\1\\22\\0\\3\\0\\0\\0\\1\\0\\6\\0\\0\\0\\0\\0\\0")
    6
    """
    try:
        tags = Image.Exif()
        tags.load(exif)
        return valid_orientation(tags.get(EXIF_ORIENTATION))
    except Exception:  # a parser of untrusted bytes raises nearly anything
        return 1


def valid_orientation(value: object) -> int:
    """Return an orientation, 1 to 8; 1 for any other value."""
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return the pixels (H, W, 3) turned upright.

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
            # Four components are CMYK; a height of 0 is stated after the pixels.
            if len(frame) < 6 or frame[0] != 8 or frame[5] not in (1, 3) or not all(size):
                return None
        if marker == 0xE1 and (block := file.read(length)).startswith(b"Exif\0\0"):
            turn = orientation(block)
        file.seek(start + length)
    return None


def _segments(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yield each marker and the number of bytes after its length, with the file at the first of them."""
    for _ in range(_SEGMENTS):
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] in (0x00, 0xFF) or (length := head[2] << 8 | head[3]) < 2:
            return
        yield head[1], length - 2


def _png(file: BinaryIO) -> Header | None:
    head, turn, texts = file.read(21), 1, 0
    width, height = int.from_bytes(head[8:12], "big"), int.from_bytes(head[12:16], "big")
    if head[:8] != b"\0\0\0\x0dIHDR" or not (width and height):
        return None
    for kind, length in _chunks(file):
        if kind == b"acTL":  # animated
            if head[16] > 8 and head[17] != _GRAY:  # of which Pillow has the upper 8 bits alone
                raise ValueError("its colors of 16 bits are in an animation; save each frame as a file of its own")
            return None
        if kind == b"eXIf":
            turn = orientation(file.read(length))
        if kind == b"zTXt" or (kind == b"iTXt" and b"\0\1\0" in file.read(min(length, 84))):  # a name, and a flag
            texts += length
        if texts > _TEXTS:
            raise ValueError(f"its compressed texts have more than {_TEXTS} bytes; save it again without them")
    return Header(height, width, turn, 0, head[16] > 8, head[17] == _GRAY)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield kind and length of each part after the first, with the file at its content; ValueError for a cut file."""
    place = file.tell()
    end = file.seek(0, 2)
    for _ in range(_CHUNKS):
        place += 4  # the checksum of the part before
        file.seek(place)
        head = file.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        place += 8 + length
        # OpenCV allocates the memory that a part claims, whether its bytes are there or not.
        if place + 4 > end:
            raise ValueError("it is truncated or damaged")
        if kind == b"IEND":
            return
        yield kind, length
    raise ValueError(f"it has more than {_CHUNKS} parts")
