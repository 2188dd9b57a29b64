"""Boxes of labeled subjects, from the labels or around their points."""

from __future__ import annotations

import numpy as np

from softpoint.labels.schema import Labels
from softpoint.suggest import check_choice


def subject_boxes(labels: Labels, source: str | None = None) -> np.ndarray:
    """Return the box (left, top, right, bottom) of each subject (N, 4) in pixels; NaN for one that has none.

    `source` "labels" takes the labels' own boxes, "keypoints" those around the labeled points, None the first where
    there is one and else the second. A subject with a single point gets a square of the set's median side.
    Raises ValueError for another source, and where no subject has a box.
    """
    check_choice("data.boxes", source, ("labels", "keypoints", None))
    boxes, around_points = labels.boxes, _around(labels.keypoints)
    if source == "keypoints":
        boxes = around_points
    elif source is None:
        boxes = np.where(np.isfinite(boxes), boxes, around_points)
    if not np.isfinite(boxes).any():
        raise ValueError(f"{labels.source}: no subject has a box (data.boxes={source}); set data.boxes=keypoints")
    sides = (boxes[:, 2:] - boxes[:, :2]).max(1)
    median = float(np.median(sides[sides > 1])) if (sides > 1).any() else 1.0
    margin = np.where(sides[:, None] > 1, 0, median / 2)
    return np.asarray(boxes + margin * [-1, -1, 1, 1])


def boxes_by_image(labels: Labels, source: str | None = None) -> dict[str, np.ndarray]:
    """Return the boxes (N, 4) of each image's subjects, by its path; images without any are left out."""
    boxes: dict[str, list[np.ndarray]] = {}
    for subject, path, box in zip(labels.subjects, labels.paths, subject_boxes(labels, source), strict=True):
        if not subject.crowd and np.isfinite(box).all():
            boxes.setdefault(path, []).append(box)
    return {image: np.array(rows) for image, rows in boxes.items()}


def _around(keypoints: np.ndarray) -> np.ndarray:
    """Return the boxes (N, 4) around the labeled ones of points (N, K, 2); NaN where there is none."""
    labeled = np.isfinite(keypoints)
    low = np.where(labeled, keypoints, np.inf).min(1) - 0.5
    high = np.where(labeled, keypoints, -np.inf).max(1) + 0.5
    boxes = np.concatenate([low, high], axis=1)
    return np.where(np.isfinite(boxes), boxes, np.nan)
