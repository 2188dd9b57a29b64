"""Median smoothing of keypoints over the frames of a video."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np

from softpoint.inference.batch.predictions import Row


def median_smoothed(rows: Iterator[Row], window: int) -> Iterator[Row]:
    """Yield rows with each keypoint at the median of its x and y over `window` frames, weighted by confidence.

    The window is centered on the frame, and narrower near the ends of the video. A frame that cannot be read has no
    weight and stays empty. Confidences and covariances stay those of the frame. Takes one row per frame, and raises
    ValueError for a window that is even or below 3.
    """
    check_window(window)
    reach = window // 2
    near: deque[Row] = deque()  # begins up to `reach` rows before the center
    center, ended = 0, False
    while not ended or center < len(near):
        while not ended and len(near) <= center + reach:
            following = next(rows, None)
            ended = following is None
            near.extend([] if following is None else [following])
        if center == len(near):
            break
        side = min(center, len(near) - 1 - center)
        yield _smoothed(near[center], [near[i] for i in range(center - side, center + side + 1)])
        if center == reach:
            near.popleft()
        else:
            center += 1


def check_window(window: int) -> None:
    """Raise ValueError for a window without a center frame or without neighbors."""
    if window < 3 or window % 2 == 0:
        raise ValueError(f"smoothing_window={window} must be an odd number of frames, 3 or more")


def _smoothed(row: Row, near: list[Row]) -> Row:
    points = np.stack([neighbor.keypoints for neighbor in near])
    weights = np.stack([neighbor.confidence for neighbor in near])[..., None]
    median = weighted_median(points, np.broadcast_to(weights, points.shape))
    return row._replace(keypoints=np.where(np.isfinite(row.keypoints), median, np.nan))


def weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted median (...) of `values` (N, ...); NaN has no weight, and the result is NaN without any.

    Where half of the weight ends between two values it is their mean, as for an even number of equal weights.

    >>> weighted_median(np.array([1.0, 2.0, 50.0]), np.array([1.0, 1.0, 1.0])).item()
    2.0
    >>> weighted_median(np.array([1.0, 2.0, 50.0]), np.array([0.9, 0.9, 0.0])).item()
    1.5
    """
    weights = np.where(np.isfinite(values) & np.isfinite(weights), weights, 0.0)
    order = np.argsort(values, axis=0)
    values = np.take_along_axis(values, order, 0)
    total = np.cumsum(np.take_along_axis(weights, order, 0), 0)
    half, tolerance = total[-1:] / 2, 1e-12 * total[-1:]
    low, high = ((total >= half - tolerance).argmax(0), (total > half + tolerance).argmax(0))
    ends = [np.take_along_axis(values, index[None], 0)[0] for index in (low, high)]
    return np.where(total[-1] > 0, (ends[0] + ends[1]) / 2, np.nan)
