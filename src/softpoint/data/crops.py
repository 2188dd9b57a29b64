"""Which part of an image a sample shows: all of it, or one subject's box; and at what size."""

from __future__ import annotations

import math

import numpy as np

from softpoint.data.geometry import letterbox_matrix, translate, zoom
from softpoint.labels.schema import Labels
from softpoint.paths import normalize_path
from softpoint.suggest import did_you_mean

_SOURCES = ("labels", "keypoints")


def subject_boxes(labels: Labels, source: str | None = None) -> np.ndarray:
    """The box (left, top, right, bottom) of each subject (N, 4) in pixels; NaN for one that has none.

    `source` "labels" takes the labels' own boxes, "keypoints" that of the labeled points, None the first where
    there is one and else the second. A subject with a single point gets a square of the set's median side.
    Raises ValueError for another source, and where no subject has a box.
    """
    if source not in (*_SOURCES, None):
        raise ValueError(f"data.boxes={source!r}: {did_you_mean(source or '', _SOURCES)}")
    given, about_points = labels.boxes, _around(labels.keypoints)
    boxes = given if source == "labels" else about_points
    if source is None:
        boxes = np.where(np.isfinite(given), given, about_points)
    if not np.isfinite(boxes).any():
        raise ValueError(f"{labels.source}: no subject has a box (data.boxes={source}); set data.boxes=keypoints")
    sides = (boxes[:, 2:] - boxes[:, :2]).max(1)
    usual = float(np.median(sides[sides > 1])) if (sides > 1).any() else 1.0
    missing = np.where(sides[:, None] > 1, 0, usual / 2)
    return boxes + missing * [-1, -1, 1, 1]


def boxes_by_image(labels: Labels, source: str | None = None) -> dict[str, np.ndarray]:
    """The boxes (N, 4) of each image's subjects, by its path; images without any are left out."""
    found: dict[str, list[np.ndarray]] = {}
    for subject, box in zip(labels.subjects, subject_boxes(labels, source), strict=True):
        if not subject.crowd and np.isfinite(box).all():
            found.setdefault(normalize_path(subject.image), []).append(box)
    return {image: np.array(boxes) for image, boxes in found.items()}


def fitting_size(shapes: np.ndarray, pixels: int, multiple: int = 32) -> tuple[int, int]:
    """The input (height, width), of about so many `pixels`, whose shape fits images or crops of `shapes` (N, 2) best.

    Both sides are multiples of `multiple`, and no larger than what the median image fills: more would show nothing
    more. Raises ValueError for fewer pixels than one square of that side.

    >>> fitting_size(np.array([[480, 640], [480, 640], [200, 200]]), 110_592)
    (288, 384)
    >>> fitting_size(np.array([[100, 100]]), 100_000)
    (128, 128)
    """
    if pixels < multiple**2:
        raise ValueError(f"data.pixels={pixels} is less than {multiple} x {multiple}; 65536 is 256 x 256")
    aspect = math.exp(np.median(np.log(shapes[:, 1] / shapes[:, 0])))
    shown = min(pixels, float(np.median(shapes.prod(1))))
    height = math.sqrt(shown / aspect)
    sides = np.array([height, height * aspect]) / multiple
    # An image that is smaller than what is asked for keeps all its pixels.
    rounded = np.ceil(sides - 1e-6) if shown < pixels else np.round(sides)
    return tuple((rounded.clip(1) * multiple).astype(int).tolist())  # type: ignore[return-value]


def _around(keypoints: np.ndarray) -> np.ndarray:
    """The boxes (N, 4) about the labeled ones of points (N, K, 2); NaN where there is none."""
    known = np.isfinite(keypoints)
    low = np.where(known, keypoints, np.inf).min(1) - 0.5
    high = np.where(known, keypoints, -np.inf).max(1) + 0.5
    boxes = np.concatenate([low, high], axis=1)
    return np.where(np.isfinite(boxes), boxes, np.nan)


def input_matrix(
    size: tuple[int, int], box: np.ndarray | None, into: tuple[int, int], padding: float = 1.0
) -> np.ndarray:
    """Matrix from an image of `size` (H, W) to an input `into` (H, W): its box, or all of the image."""
    return letterbox_matrix(size, into) if box is None else crop_matrix(box, into, padding)


def crop_matrix(box: np.ndarray, into: tuple[int, int], padding: float = 1.0) -> np.ndarray:
    """Matrix that brings a box (left, top, right, bottom), `padding` times as large, into an input `into` (H, W).

    Its aspect is kept and its center comes to the center; what the input has room for beside it shows the
    image around the box.

    >>> crop_matrix(np.array([-0.5, -0.5, 99.5, 49.5]), (100, 100)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 25.0], [0.0, 0.0, 1.0]]
    """
    low, high = box[:2], box[2:]
    width, height = (high - low) * padding
    scale = min(into[1] / width, into[0] / height)
    (x, y), (u, v) = (low + high) / 2, ((into[1] - 1) / 2, (into[0] - 1) / 2)
    return translate(u - x, v - y) @ zoom(scale, (float(x), float(y)))
