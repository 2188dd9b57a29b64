"""Requests as arrays, results as JSON values, and the exception that refuses a request."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from softpoint.images.decode import decode_image, decoded_size

# First bytes, then bytes from the ninth on, of the accepted formats.
FORMATS = {
    "PNG": (b"\x89PNG\r\n\x1a\n", b""),
    "JPEG": (b"\xff\xd8\xff", b""),
    "WebP": (b"RIFF", b"WEBP"),
    "BMP": (b"BM", b""),
}

_PARTS = ("confidence", "covariance", "visibility")  # other outputs of an export, such as heatmaps, are too large
_UNLIMITED = 1 << 62  # pixels: reading a header costs nothing


class RequestError(Exception):
    """An HTTP status, an explanation for the client, and the headers that go with them.

    >>> error = RequestError(503, "32 requests are in progress; try again")
    >>> error.status, error.headers
    (503, {'Retry-After': '1'})
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.headers = status, {"Retry-After": "1"} if status == 503 else {}


def header_size(body: bytes, exif: str, max_pixels: int) -> tuple[int, int]:
    """Return (height, width) from an image's header, after the rotation by `exif`.

    Raises RequestError: 400 for an empty body, 415 for another format than FORMATS, 413 for more than `max_pixels`,
    422 for a damaged header.

    >>> header_size(b"hello", "apply", 100)
    Traceback (most recent call last):
    softpoint.serving.schemas.RequestError: the body is not a PNG, JPEG, WebP or BMP image; send an image's bytes ...
    """
    if not body:
        raise RequestError(400, "the body is empty; send an image's bytes: curl --data-binary @IMAGE URL")
    if not any(body.startswith(start) and body[8:].startswith(tag) for start, tag in FORMATS.values()):
        message = "the body is not a PNG, JPEG, WebP or BMP image; send an image's bytes (curl --data-binary @IMAGE)"
        raise RequestError(415, message)
    try:
        height, width = decoded_size(body, exif=exif, max_pixels=_UNLIMITED)
    except ValueError as error:
        raise _invalid_image(error) from error
    if height * width > max_pixels:
        message = (
            f"the image is {width} pixels wide and {height} high, more than max_pixels={max_pixels}; scale it down"
        )
        raise RequestError(413, message)
    return height, width


def decode(body: bytes, exif: str, max_pixels: int) -> np.ndarray:
    """Return an image's pixels, uint8 RGB (H, W, 3); raise RequestError 422 if it is damaged."""
    try:
        return decode_image(body, exif=exif, max_pixels=max_pixels)
    except ValueError as error:
        raise _invalid_image(error) from error


def _invalid_image(error: ValueError) -> RequestError:
    return RequestError(422, str(error).replace("data.", ""))  # the settings of a server have no such prefix


def parse_boxes(boxes: Sequence[str], max_boxes: int) -> np.ndarray | None:
    """Return boxes float32 (N, 4) from texts LEFT,TOP,RIGHT,BOTTOM, or None if there are none.

    Raises RequestError: 422 for an invalid box, 413 for more than `max_boxes`.

    >>> parse_boxes(["10,20,200,240"], 4).tolist()
    [[10.0, 20.0, 200.0, 240.0]]
    """
    if len(boxes) > max_boxes:
        raise RequestError(413, f"{len(boxes)} boxes are more than max_boxes={max_boxes}; send several requests")
    return np.stack([_parse_box(box) for box in boxes]) if boxes else None


def _parse_box(text: str) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):
            box = np.array([float(number) for number in text.split(",")]).astype(np.float32)
    except ValueError:
        box = np.empty(0, np.float32)
    if box.shape != (4,) or not (np.isfinite(box).all() and (box[2:] > box[:2]).all()):
        message = f"box={text[:100]!r} must be LEFT,TOP,RIGHT,BOTTOM in pixels, with an area: box=10,20,200,240"
        raise RequestError(422, message)
    return box


def to_response(
    names: Sequence[str], size: tuple[int, int], boxes: np.ndarray | None, rows: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, Any]:
    """Return `size` [h, w] and `keypoints`, or with boxes `subjects` with a `box` and `keypoints` each."""
    keypoints = [_keypoints(names, row) for row in rows]
    if boxes is None:
        return {"keypoints": keypoints[0], "size": list(size)}
    subjects = [{"box": box, "keypoints": points} for box, points in zip(boxes.tolist(), keypoints, strict=True)]
    return {"subjects": subjects, "size": list(size)}


def _keypoints(names: Sequence[str], row: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    return [
        {"name": name, "x": _plain(row["keypoints"][k, 0]), "y": _plain(row["keypoints"][k, 1])}
        | {part: _plain(row[part][k]) for part in _PARTS if part in row}
        for k, name in enumerate(names)
    ]


def _plain(value: Any) -> Any:
    """Return numbers with as few digits as give the same float32, and None for what JSON cannot express.

    >>> _plain(np.float32([0.1, np.nan]))
    [0.1, None]
    """
    if np.ndim(value):
        return [_plain(part) for part in value]
    return float(str(value)) if math.isfinite(value) else None
