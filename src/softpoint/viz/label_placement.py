"""Names next to points, kept off the points and off each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from softpoint.viz.text import draw_tag, text_size

# Candidate positions around a point, in order of preference: the sides, then the corners, then both farther away.
_SIDES = np.array([(1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1)])
_GAPS = np.array([1.0, 2.5])


def draw_labels(
    canvas: np.ndarray,
    points: np.ndarray,
    labels: Sequence[str],
    colors: Sequence[Sequence[int]],
    clearance: float,
    others: np.ndarray | None = None,
) -> None:
    """Write each label next to its point (K, 2) on `canvas` (H, W, 3) uint8, in place; none for a NaN point.

    A label begins at least `clearance` pixels from its point, where it covers least of: the outside of the image,
    the labels already written, and the squares of that half width around all points and `others` (N, 2).

    >>> canvas = np.full((40, 80, 3), 90, np.uint8)
    >>> draw_labels(canvas, np.array([[10.0, 20.0]]), ["nose"], [(255, 255, 255)], clearance=6)
    >>> bool((canvas[:, :16] == 90).all()), bool((canvas[:, 16:] == 90).all())
    (True, False)
    """
    height = float(np.clip(0.014 * np.hypot(*canvas.shape[:2]), 10, 40))
    marks = points if others is None else np.concatenate([points, others])
    marks = marks[np.isfinite(marks).all(axis=1)]
    taken = np.concatenate([marks - clearance, marks + clearance], axis=1)
    for i in np.flatnonzero(np.isfinite(points).all(axis=1)).tolist():
        box = _free_box(points[i], text_size(labels[i], height), clearance, taken, canvas.shape)
        draw_tag(canvas, labels[i], (box[0], box[1]), height, colors[i])
        taken = np.concatenate([taken, box[None]])


def _free_box(
    point: np.ndarray, size: tuple[int, int], clearance: float, taken: np.ndarray, canvas: tuple[int, ...]
) -> np.ndarray:
    """Return the candidate box (left, top, right, bottom) that covers least."""
    half = np.array(size) / 2
    centers = point + np.concatenate([_SIDES * (half + gap * clearance) for gap in _GAPS])
    boxes = np.concatenate([centers - half, centers + half], axis=1)
    inside = _overlap(boxes, np.array([[0, 0, canvas[1], canvas[0]]]))
    box: np.ndarray = boxes[np.argmin(_overlap(boxes, taken) - 2 * inside)]
    return box


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the area (N,) that each box (N, 4) shares with all others (M, 4)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    area: np.ndarray = (high - low).clip(min=0).prod(axis=-1).sum(axis=1)
    return area
