"""Boxes of labeled subjects, from the labels or around their points."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from softpoint.labels.schema import Labels
from softpoint.suggest import check_choice

# Boxes of a crop that need no other file than the labels.
BOX_SOURCES = ("labels", "keypoints", None)


def subject_boxes(labels: Labels, source: str | None = None) -> np.ndarray:
    """Return the box (left, top, right, bottom) of each subject (N, 4) in pixels; NaN for one that has none.

    `source` "labels" takes the labels' own boxes, "keypoints" those around the labeled points, None the first where
    there is one and else the second. A subject with a single point gets a square of the set's median side.
    Raises ValueError for another source, and where no subject has a box.
    """
    check_choice("data.boxes", source, BOX_SOURCES)
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
    for crowd, path, box in zip(labels.crowds, labels.paths, subject_boxes(labels, source), strict=True):
        if not crowd and np.isfinite(box).all():
            boxes.setdefault(path, []).append(box)
    return {image: np.array(rows) for image, rows in boxes.items()}


def matched_boxes(labels: Labels, found: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the box (N, 4) of each subject among those (M, 4) that were `found` in its image; NaN for one without.

    Each box is of one subject: the pairs that overlap most come first, by intersection over union with the subject's
    own box, or that around its points. A box must hold half of the subject's labeled points.
    """
    own, result = subject_boxes(labels), np.full((len(labels), 4), np.nan)
    rows_of: dict[str, list[int]] = {}
    for row, (crowd, path) in enumerate(zip(labels.crowds, labels.paths, strict=True)):
        if not crowd and path in found and np.isfinite(own[row]).all():
            rows_of.setdefault(path, []).append(row)
    for path, rows in rows_of.items():
        overlap = box_overlaps(own[rows], found[path]) * _holds(found[path], labels.keypoints[rows])
        while overlap.max(initial=0) > 0:
            i, j = np.unravel_index(overlap.argmax(), overlap.shape)
            result[rows[i]] = found[path][j]
            overlap[i], overlap[:, j] = 0, 0
    return result


def box_overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the intersection over union (N, M) of boxes (N, 4) and (M, 4).

    >>> box_overlaps(np.array([[0.0, 0, 2, 2]]), np.array([[0.0, 0, 2, 1], [3, 3, 4, 4]])).tolist()
    [[0.5, 0.0]]
    """
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(-1) for boxes in (one, other)]
    shared = (high - low).clip(0).prod(-1)
    return np.asarray(shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-12))


def squares(boxes: np.ndarray) -> np.ndarray:
    """Return the squares (N, 4) about the centers of boxes (N, 4) whose side is the longer one of the box.

    >>> squares(np.array([[0.0, 4, 8, 6]])).tolist()
    [[0.0, 1.0, 8.0, 9.0]]
    """
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    reach = (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True) / 2
    return np.concatenate([center - reach, center + reach], 1)


def _holds(boxes: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Return (N, M) whether a box (M, 4) holds half of the labeled ones of points (N, K, 2)."""
    labeled = np.isfinite(keypoints).all(-1).sum(-1)
    points = keypoints[:, None]
    inside = ((points >= boxes[None, :, None, :2]) & (points <= boxes[None, :, None, 2:])).all(-1).sum(-1)
    return np.asarray(2 * inside >= labeled[:, None])


def _around(keypoints: np.ndarray) -> np.ndarray:
    """Return the boxes (N, 4) around the labeled ones of points (N, K, 2); NaN where there is none."""
    labeled = np.isfinite(keypoints)
    low = np.where(labeled, keypoints, np.inf).min(1) - 0.5
    high = np.where(labeled, keypoints, -np.inf).max(1) + 0.5
    boxes = np.concatenate([low, high], axis=1)
    return np.where(np.isfinite(boxes), boxes, np.nan)
