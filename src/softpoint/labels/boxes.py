"""The box of each labeled subject, from the labels or around its points."""

from __future__ import annotations

import numpy as np

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


def _around(keypoints: np.ndarray) -> np.ndarray:
    """The boxes (N, 4) about the labeled ones of points (N, K, 2); NaN where there is none."""
    known = np.isfinite(keypoints)
    low = np.where(known, keypoints, np.inf).min(1) - 0.5
    high = np.where(known, keypoints, -np.inf).max(1) + 0.5
    boxes = np.concatenate([low, high], axis=1)
    return np.where(np.isfinite(boxes), boxes, np.nan)
