"""Images as they come over the network: known formats alone, measured before they are decoded."""

from __future__ import annotations

import numpy as np

from softpoint.images.decode import decode_image, decoded_size
from softpoint.serving.errors import Refusal

FORMATS = ("PNG", "JPEG", "WebP", "BMP")

_ANY = 1 << 62  # pixels: headers may state what they like, for reading them costs nothing


def measured(body: bytes, exif: str, max_pixels: int) -> tuple[int, int]:
    """(height, width) that an image states in its header, turned as `exif` says.

    Raises a Refusal: 400 without a body, 415 for what is no image of the FORMATS, 413 for more than `max_pixels`,
    422 for a header that cannot be read.

    >>> measured(b"hello", "apply", 100)
    Traceback (most recent call last):
    softpoint.serving.errors.Refusal: the body is no PNG, JPEG, WebP, BMP; send an image's bytes as they are ...
    """
    if not body:
        raise Refusal(400, "the body is empty; send an image's bytes: curl --data-binary @IMAGE URL")
    if _format(body) is None:
        known = ", ".join(FORMATS)
        raise Refusal(415, f"the body is no {known}; send an image's bytes as they are (curl --data-binary @IMAGE)")
    try:
        height, width = decoded_size(body, exif=exif, max_pixels=_ANY)
    except ValueError as error:
        raise Refusal(422, _here(error)) from error
    if height * width > max_pixels:
        raise Refusal(413, f"the image is {width} wide and {height} high, over max_pixels={max_pixels}; scale it down")
    return height, width


def decoded(body: bytes, exif: str, max_pixels: int) -> np.ndarray:
    """The pixels, uint8 RGB (H, W, 3); raises a Refusal, 422, for an image that is damaged."""
    try:
        return decode_image(body, exif=exif, max_pixels=max_pixels)
    except ValueError as error:
        raise Refusal(422, _here(error)) from error


def _format(body: bytes) -> str | None:
    """One of FORMATS by the first bytes.

    >>> _format(b"RIFF....WEBPVP8 "), _format(b"II*...")
    ('WebP', None)
    """
    starts = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"BM": "BMP"}
    if body.startswith(b"RIFF") and body[8:12] == b"WEBP":
        return "WebP"
    return next((name for start, name in starts.items() if body.startswith(start)), None)


def _here(error: ValueError) -> str:
    """The message, with settings called as this server calls them."""
    return str(error).replace("data.", "")
