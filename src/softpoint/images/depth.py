"""Pixels of other kinds as RGB of 8 bits."""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin

from softpoint.images.decode_errors import RefusedError

# Tags of TIFF.
_BITS, _PHOTOMETRIC, _PLANES, _SAMPLE_FORMAT = 258, 262, 284, 339
_WHITE_IS_ZERO, _SEPARATE, _SIGNED = 0, 2, 2

_NETPBM = re.compile(rb"P[2356](?:(?:\s|#[^\n]*\n)+(\d+)){3}")  # width, height, largest value
_JPEG2000_SIZES = b"\xff\x4f\xff\x51"  # 42 bytes after its start stands the depth of the first channel


# The largest value of files that declare 16 bits.
LARGEST = 65535


class Decoded(NamedTuple):
    """An image, and the part of its range that it uses."""

    pixels: np.ndarray  # uint8 (H, W, C); RGB, gray, or bands
    bits: int = 0  # that the largest value takes in a file of 16 bits; 0 for other files


def rgb(image: Image.Image, bits: int | None) -> Decoded:
    """Return the pixels of an open image; `bits` as in `read_image`."""
    if (wide := wide_values(image)) is not None:
        pixels, used = narrowed(*wide, bits)
        if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            pixels = 255 - pixels
        return Decoded(pixels, used)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers without a known range; save it with 8 or 16 bits")
    return Decoded(_colors(image))


def wide_values(image: Image.Image) -> tuple[np.ndarray, int] | None:
    """Return values of more than 8 bits, uint16 (H, W) or (H, W, 3) RGB, and the largest that the file declares.

    None for an image of 8 bits, and for one of floating-point numbers. Pillow has only the upper 8 bits of colors, and
    scales some gray images.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags: Any = image.tag_v2
        depth = max(tags.get(_BITS, (1,)))
        if image.mode in ("RGB", "RGBA") and depth > 8:
            if tags.get(_PLANES) == _SEPARATE:
                raise ValueError("its colors of 16 bits lie in separate planes; save it with interleaved colors")
            return _all_bits(image), (1 << depth) - 1
        is_signed = tags.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED
        largest = (1 << min(16, depth - is_signed)) - 1
        if image.mode == "L" and depth == 8 and is_signed:  # which Pillow reads as unsigned
            return unsigned(np.asarray(image).view(np.int8)), largest
    elif image.format == "PPM" and (match := _NETPBM.match(_content(image, 1 << 16))):
        largest = int(match[1])
        return (_all_bits(image), largest) if largest > 255 else None
    elif image.format == "JPEG2000" and image.mode in ("I;16", "RGB", "RGBA"):
        data = _content(image)
        depth = (data[data.index(_JPEG2000_SIZES) + 42] & 127) + 1
        return (_all_bits(image), (1 << min(16, depth)) - 1) if depth > 8 else None
    else:
        largest = LARGEST
    if not image.mode.startswith("I"):
        return None
    return unsigned(np.asarray(image)), largest


def narrowed(values: np.ndarray, declared: int, bits: int | None) -> Decoded:
    """Return values (H, W, C), or (H, W) as RGB, as uint8: the upper 8 of `bits`, or of the `declared` range."""
    limit = declared if bits is None else (1 << bits) - 1
    if (largest := int(values.max())) > limit:
        raise RefusedError(
            f"image {{path}} has values up to {largest}, more than data.bits={bits} allows; set"
            f" data.bits={largest.bit_length()}"
        )
    pixels = np.empty((*values.shape[:2], 3) if values.ndim == 2 else values.shape, np.uint8)
    for rows in _slices(len(values)):
        narrow = values[rows].astype(np.uint32) * 256 // (limit + 1)
        pixels[rows] = narrow[..., None] if narrow.ndim == 2 else narrow
    return Decoded(pixels, largest.bit_length() if declared == LARGEST else 0)


def _colors(image: Image.Image) -> np.ndarray:
    """Return the pixels of an open image of 8 bits, uint8 (H, W, 3) RGB."""
    image.load()
    colors = np.empty((image.height, image.width, 3), np.uint8)
    for rows in _slices(image.height):  # whole copies would take three times the memory
        band = image.crop((0, rows.start, image.width, rows.stop))
        band = band.convert("RGBA") if "transparency" in image.info else band
        colors[rows] = np.asarray(band.convert("RGB"))
    return colors


def _slices(height: int) -> list[slice]:
    """Return slices of rows.

    >>> _slices(300)
    [slice(0, 256, None), slice(256, 300, None)]
    """
    return [slice(top, min(top + 256, height)) for top in range(0, height, 256)]


def unsigned(values: np.ndarray) -> np.ndarray:
    """Return values as uint16; ValueError for those that do not fit."""
    if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise ValueError(f"its pixels span {values.min()} to {values.max()}; save it with 8 or 16 bits from 0 on")
    return values.astype(np.uint16)


def _content(image: Any, size: int = -1) -> bytes:
    """Return the first bytes of an open image that is not yet loaded, or all."""
    place = image.fp.tell()
    image.fp.seek(0)
    data: bytes = image.fp.read(size)
    image.fp.seek(place)
    return data


def _all_bits(image: Any) -> np.ndarray:
    """Return all bits of the values of an open image, uint16 (H, W) or (H, W, 3) RGB."""
    file, page = image.fp, image.tell()
    image.load()  # an error for a truncated file, of which OpenCV makes up the rest
    if isinstance(file, BytesIO):
        values = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_UNCHANGED)
    else:
        values = next(iter(cv2.imreadmulti(str(file.name), page, 1, flags=cv2.IMREAD_UNCHANGED)[1]), None)
    if values is None or values.dtype != np.uint16:
        raise ValueError("its values of 16 bits cannot be read")
    return values if values.ndim == 2 else values[..., 2::-1]
