"""What a packed set holds of each subject, and its bytes."""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

import numpy as np

from softpoint.labels.validate import BORDER

# litdata's numbers for the types of arrays.
_INT64, _FLOAT64 = 3, 10

# The fields in order, and how litdata's index calls the way each is stored.
FIELDS = {
    "image": "bytes",  # the image's file as it was, or a PNG
    "keypoints": "numpy",  # float64 (K, 2), NaN where unlabeled
    "visibility": f"no_header_numpy:{_INT64}",  # (K,)
    "box": f"no_header_numpy:{_FLOAT64}",  # left, top, right, bottom; NaN for none
    "size": f"no_header_numpy:{_INT64}",  # height and width
    "scale": "float",
    "group": "bytes",  # UTF-8
    "path": "bytes",  # UTF-8, as the labels wrote it
}
_LENGTHS = struct.Struct(f"<{len(FIELDS)}I")

# No image is as long, and no box as small or as far away, in pixels.
_LONGEST, _SMALLEST = 1 << 24, 0.01


class Sample(NamedTuple):
    """One packed subject; lengths in pixels of its image."""

    image: bytes
    keypoints: np.ndarray
    visibility: np.ndarray
    box: np.ndarray
    size: tuple[int, int]
    scale: float
    group: str
    path: str


def parse(data: bytes, points: int) -> Sample:
    """A sample with `points` keypoints from its bytes: the length of each field, then the fields.

    Raises ValueError for anything that no packing of checked labels can have written.
    """
    lengths = _LENGTHS.unpack(_exactly(data[: _LENGTHS.size], _LENGTHS.size))
    _exactly(data, _LENGTHS.size + sum(lengths))
    ends = (_LENGTHS.size + np.cumsum(lengths)).tolist()
    parts = {name: data[end - length : end] for name, length, end in zip(FIELDS, lengths, ends, strict=True)}
    header = struct.pack("<4I", _FLOAT64, 2, points, 2)
    if parts["keypoints"][: len(header)] != header:
        raise ValueError(f"its keypoints are not {points} pairs of numbers")
    height, width = _numbers(parts["size"], "<i8", 2).tolist()
    sample = Sample(
        parts["image"],
        _numbers(parts["keypoints"][len(header) :], "<f8", 2 * points).reshape(points, 2),
        _numbers(parts["visibility"], "<i8", points),
        _numbers(parts["box"], "<f8", 4),
        (height, width),
        float(_numbers(parts["scale"], "<f8", 1)[0]),
        parts["group"].decode(),
        parts["path"].decode(),
    )
    validate(sample)
    return sample


def validate(sample: Sample) -> None:
    """Raises ValueError where labels and image contradict each other."""
    points, states = sample.keypoints.tolist(), sample.visibility.tolist()
    (height, width), box = sample.size, sample.box.tolist()
    if not 0 < height < _LONGEST or not 0 < width < _LONGEST or not 0 < sample.scale < math.inf:
        raise ValueError(f"its height and width are {height} and {width}, its scale {sample.scale}")
    for (x, y), state in zip(points, states, strict=True):
        if state not in (-1, 0, 1, 2) or (state > 0) != (math.isfinite(x) and math.isfinite(y)):
            raise ValueError(f"the visibility of its point ({x:g}, {y:g}) is {state}")
        if state > 0 and not (-BORDER <= x <= width - 1 + BORDER and -BORDER <= y <= height - 1 + BORDER):
            raise ValueError(f"its point ({x:g}, {y:g}) lies outside its {width} x {height} pixels")
    left, top, right, bottom = box
    finite = all(abs(edge) < _LONGEST for edge in box)
    if not (finite and min(right - left, bottom - top) > _SMALLEST) and not all(map(math.isnan, box)):
        raise ValueError(f"its box is {box}")


def _exactly(data: bytes, length: int) -> bytes:
    if len(data) != length:
        raise ValueError(f"{len(data)} bytes stand where {length} belong")
    return data


def _numbers(data: bytes, kind: str, count: int) -> np.ndarray:
    return np.frombuffer(_exactly(data, 8 * count), kind)
