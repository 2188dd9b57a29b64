"""Requests as arrays, and results as JSON values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np
from fastapi import HTTPException
from pydantic import BaseModel, Field

from softpoint.images.channels import are_bands
from softpoint.images.decode import decode_image, decoded_size
from softpoint.images.read_options import ReadOptions
from softpoint.suggest import without_data

# First bytes, then bytes from the ninth on, of the accepted formats.
FORMATS = {
    "PNG": (b"\x89PNG\r\n\x1a\n", b""),
    "JPEG": (b"\xff\xd8\xff", b""),
    "WebP": (b"RIFF", b"WEBP"),
    "BMP": (b"BM", b""),
}
# Those that a model of bands accepts, too.
OF_BANDS = {"TIFF": (b"II*\0", b""), "TIFF of the other byte order": (b"MM\0*", b""), "NumPy": (b"\x93NUMPY", b"")}
BODY = {"content": {f"image/{name.lower()}": {"schema": {"type": "string", "format": "binary"}} for name in FORMATS}}

# What a keypoint has beside its place, regions as half axes and angle.
_PARTS = (
    "confidence",
    "covariance",
    "visibility",
    "region_50",
    "region_90",
    "millimeters",
)  # other outputs of an export, such as heatmaps, are too large

_NUMBER = {"type": ["number", "null"]}
_NUMBERS = {"type": "array", "items": _NUMBER}
_POINT = {"name": {"type": "string"}, "x": _NUMBER, "y": _NUMBER, "confidence": _NUMBER}
_POINT |= {"covariance": {"type": "array", "items": _NUMBERS}}
_POINT |= dict.fromkeys(("visibility", "region_50", "region_90", "millimeters"), _NUMBERS)
_POINTS = {"type": "array", "items": {"type": "object", "properties": _POINT}}
_SUBJECT = {"type": "object", "properties": {"score": _NUMBER, "box": _NUMBERS, "keypoints": _POINTS}}
_PARTS_OF_ANSWER = {
    "size": _NUMBERS | {"description": "height and width"},
    "keypoints": _POINTS | {"description": "of the whole image"},
    "subjects": {"type": "array", "items": _SUBJECT, "description": "in the boxes asked for, or those that were found"},
}
ANSWER = {
    "200": {
        "description": "Keypoints of the image, or of each subject in it, the likeliest first",
        "content": {"application/json": {"schema": {"type": "object", "properties": _PARTS_OF_ANSWER}}},
    }
}


class Query(BaseModel, extra="forbid"):
    """The query of POST /predict."""

    box: list[str] = Field([], description="LEFT,TOP,RIGHT,BOTTOM of a subject in pixels, repeated per subject")

    def boxes(self) -> np.ndarray | None:
        """Return boxes float32 (N, 4), or None for none; HTTPException 422 for an invalid one.

        >>> Query(box=["10,20,200,240"]).boxes().tolist()
        [[10.0, 20.0, 200.0, 240.0]]
        """
        boxes = np.zeros((len(self.box), 4), np.float32)
        for row, text in zip(boxes, self.box, strict=True):
            with suppress(ValueError), np.errstate(over="ignore"):
                row[:] = [float(number) for number in text.split(",")]
            if not (np.isfinite(row).all() and (row[2:] > row[:2]).all()):
                message = "must be LEFT,TOP,RIGHT,BOTTOM in pixels, with an area: box=10,20,200,240"
                raise HTTPException(422, f"box={text[:100]!r} {message}")
        return boxes if self.box else None


def image_size(body: bytes, options: ReadOptions) -> tuple[int, int]:
    """Return (height, width) from an image's header, after the rotation by `exif`.

    Raises HTTPException: 400 for an empty body, 415 for another format than FORMATS, 413 for too many pixels,
    422 for a damaged header.
    """
    if not body:
        raise HTTPException(400, "the body is empty; send an image's bytes: curl --data-binary @IMAGE URL")
    accepted = FORMATS | (OF_BANDS if are_bands(options.channels) else {})
    if not any(body.startswith(start) and body[8:].startswith(tag) for start, tag in accepted.values()):
        names = ", ".join(accepted).replace(", BMP", " or BMP")
        message = f"the body is not a {names} image; send an image's bytes (curl --data-binary @IMAGE)"
        raise HTTPException(415, message)
    with damaged():
        height, width = decoded_size(body, replace(options, max_pixels=1 << 62))
    if height * width > options.max_pixels:
        size = f"{width} pixels wide and {height} high"
        raise HTTPException(413, f"the image is {size}, more than max_pixels={options.max_pixels}; scale it down")
    return height, width


def image_pixels(body: bytes, options: ReadOptions) -> np.ndarray:
    """Return an image's pixels, uint8 (H, W, C); HTTPException 422 if it is damaged."""
    with damaged():
        return decode_image(body, options)


@contextmanager
def damaged() -> Iterator[None]:
    """Turn an error of decoding into HTTPException 422."""
    try:
        yield
    except ValueError as error:
        raise HTTPException(422, without_data(str(error))) from error


def to_response(
    names: Sequence[str], size: tuple[int, int], boxes: np.ndarray | None, rows: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, Any]:
    """Return `size` [h, w] and `keypoints`, or with boxes `subjects` with a `box` and `keypoints` each."""
    keypoints = [_points(names, row) for row in rows]
    if boxes is None:
        return {"keypoints": keypoints[0], "size": list(size)}
    subjects = [{"box": box, "keypoints": points} for box, points in zip(boxes.tolist(), keypoints, strict=True)]
    return {"subjects": subjects, "size": list(size)}


def subjects_response(names: Sequence[str], size: tuple[int, int], found: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return `size` [h, w] and `subjects`, those that a model found, with a `score`, a `box` and `keypoints` each."""
    subjects = [
        {"score": _plain(score), "box": _plain(found["boxes"][i])}
        | {"keypoints": _points(names, {part: value[i] for part, value in found.items()})}
        for i, score in enumerate(found["scores"])
    ]
    return {"subjects": subjects, "size": list(size)}


def _points(names: Sequence[str], row: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
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
