"""Pixels of other kinds as RGB of 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

from softpoint.images.decode_errors import RefusedError

# Tags of TIFF.
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _SIGNED = 0, 2


def rgb(image: Image.Image, bits: int | None) -> np.ndarray:
    """Return the pixels of an open image, uint8 (H, W, 3); `bits` as in `read_image`."""
    if image.mode.startswith("I"):  # Pillow would clip values at 255, which turns nearly every image white
        values, declared = wide_values(image)
        pixels = narrowed(values, declared, bits)
        if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            pixels = 255 - pixels
        return np.repeat(pixels[..., None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers without a known range; save it with 8 or 16 bits")
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def wide_values(image: Image.Image) -> tuple[np.ndarray, int]:
    """Return the values (H, W) of a gray image, and how many bits the file declares for them, at most 16."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise ValueError(f"its pixels span {values.min()} to {values.max()}; save it with 8 or 16 bits")
    tags: Any = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    declared = tags.get(_BITS, (16,))[0] - (tags.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED)
    return values.astype(np.uint16), min(16, declared)


def narrowed(values: np.ndarray, declared: int, bits: int | None) -> np.ndarray:
    """Return the upper 8 of `bits`, or of the declared ones, as uint8."""
    if (largest := int(values.max())) >> (bits or declared):
        raise RefusedError(
            f"image {{path}} has values up to {largest}, more than data.bits={bits} allows; set"
            f" data.bits={largest.bit_length()}"
        )
    return (values >> ((bits or declared) - 8)).astype(np.uint8)
