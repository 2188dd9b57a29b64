"""What is drawn inside a chart: lines, dots, bars and bands on a plot (H, W, 3) uint8, in place.

Places are in [0, 1] from left to right and from bottom to top; what is not finite is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from softpoint.viz.text import paint

_SHIFT = 4  # fractional bits of the coordinates handed to OpenCV
_FAR = 1 << 14  # pixels from the chart beyond which a line may end anywhere
_FEW = 12  # points up to which a line shows each of them


def to_pixels(plot: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pixels (N, 2) of places in [0, 1], y upwards."""
    return np.stack([x * (plot.shape[1] - 1), (1 - y) * (plot.shape[0] - 1)], axis=1)


def stroke(plot: np.ndarray, points: np.ndarray, color: Sequence[int], dashed: bool) -> None:
    """A line through pixels (N, 2), broken where they are not finite, with a dot at each of a few."""
    for run in _runs(points):
        for part in _dashes(run) if dashed else [run]:
            cv2.polylines(plot, [_fixed(part)[:, None]], False, color, 2, cv2.LINE_AA, _SHIFT)
    if 2 < len(points) <= _FEW and not dashed:
        dots(plot, points, color)


def dots(plot: np.ndarray, points: np.ndarray, color: Sequence[int]) -> None:
    """Discs, the more of them the smaller and fainter."""
    points = points[np.isfinite(points).all(axis=1)]
    radius = 5 if len(points) < 50 else 3 if len(points) < 500 else 2
    ink = np.zeros(plot.shape[:2], np.uint8)
    for x, y in _fixed(points).tolist():
        cv2.circle(ink, (x, y), radius << _SHIFT, 255, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    if len(points) >= 50:
        ink = (ink * 0.6).astype(np.uint8)
    paint(plot, ink, color)


def bars(plot: np.ndarray, x: np.ndarray, low: np.ndarray, high: np.ndarray, color: Sequence[int]) -> None:
    """A vertical bar with caps at each x."""
    for (a, b), (_, d) in zip(to_pixels(plot, x, low), to_pixels(plot, x, high), strict=True):
        if np.isfinite([a, b, d]).all():
            for ends in ([(a, b), (a, d)], [(a - 5, b), (a + 5, b)], [(a - 5, d), (a + 5, d)]):
                start, stop = _fixed(np.array(ends)).tolist()
                cv2.line(plot, start, stop, color, 2, cv2.LINE_AA, _SHIFT)


def band(plot: np.ndarray, x: np.ndarray, low: np.ndarray, high: np.ndarray, color: Sequence[int]) -> None:
    """A tinted area between two lines."""
    edges = np.concatenate([to_pixels(plot, x, low), to_pixels(plot, x, high)], axis=1)
    for run in _runs(edges):
        outline = np.concatenate([run[:, :2], run[::-1, 2:]])
        ink = np.zeros(plot.shape[:2], np.uint8)
        cv2.fillPoly(ink, [_fixed(outline)[:, None]], 50, cv2.LINE_AA, _SHIFT)
        paint(plot, ink, color)


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.round(np.clip(points, -_FAR, _FAR) * 2**_SHIFT).astype(np.int32)


def _runs(points: np.ndarray) -> list[np.ndarray]:
    """The longest stretches (M, 2) of finite points."""
    finite = np.isfinite(points).all(axis=1)
    cuts = np.flatnonzero(np.diff(finite)) + 1
    return [run for run in np.split(points, cuts) if len(run) and np.isfinite(run[0]).all()]


def _dashes(points: np.ndarray, length: float = 7.0) -> list[np.ndarray]:
    """Every second stretch of `length` pixels along a line."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    starts = np.arange(0, max(along[-1], 1e-9), 2 * length)[:4096]
    stops = np.minimum(starts + length, along[-1])
    ends = [np.stack([np.interp(t, along, points[:, axis]) for axis in (0, 1)], 1) for t in (starts, stops)]
    return list(np.stack(ends, axis=1))
