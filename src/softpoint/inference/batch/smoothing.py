"""Points of a video made steadier by their neighbors in time; what a network answered is changed by nothing else."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np

from softpoint.inference.batch.writers.rows import Row


def median_smoothed(rows: Iterator[Row], window: int) -> Iterator[Row]:
    """Each keypoint at the median of its x and of its y in the `window` frames about it, weighted by confidence.

    Towards the ends of the video the window becomes narrower and stays centered. A frame that is broken has no
    weight and stays empty. Confidences and covariances are those of the frame itself, as if nothing had been smoothed.
    It takes one row a frame. Raises ValueError for a window that is even or below 3.
    """
    check_window(window)
    reach = window // 2
    near: deque[Row] = deque()  # from `reach` before the row in the middle on
    middle, ended = 0, False
    while not ended or middle < len(near):
        while not ended and len(near) <= middle + reach:
            following = next(rows, None)
            ended = following is None
            near.extend([] if following is None else [following])
        if middle == len(near):
            break
        side = min(middle, len(near) - 1 - middle)
        part = [near[i] for i in range(middle - side, middle + side + 1)]
        yield _steadied(near[middle], part)
        if middle == reach:
            near.popleft()
        else:
            middle += 1


def check_window(window: int) -> None:
    """ValueError for a window that has no middle or no neighbor."""
    if window < 3 or window % 2 == 0:
        raise ValueError(f"smoothing_window={window} must be an odd number of frames, 3 or more")


def _steadied(row: Row, near: list[Row]) -> Row:
    points = np.stack([one.keypoints for one in near])
    weights = np.stack([one.confidence for one in near])[..., None]
    median = weighted_median(points, np.broadcast_to(weights, points.shape))
    return row._replace(keypoints=np.where(np.isfinite(row.keypoints), median, np.nan))


def weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The value (...) of `values` (N, ...) with half of the weight on either side; NaN has no weight.

    Where half of the weight ends between two values it is the mean of them, as of an even number of equal weights.
    Where all weights are 0 it is NaN.

    >>> weighted_median(np.array([1.0, 2.0, 50.0]), np.array([1.0, 1.0, 1.0])).item()
    2.0
    >>> weighted_median(np.array([1.0, 2.0, 50.0]), np.array([0.9, 0.9, 0.0])).item()
    1.5
    """
    weights = np.where(np.isfinite(values) & np.isfinite(weights), weights, 0.0)
    order = np.argsort(values, axis=0)
    values = np.take_along_axis(values, order, 0)
    share = np.cumsum(np.take_along_axis(weights, order, 0), 0)
    half = share[-1:] / 2
    near = 1e-12 * share[-1:]
    low, high = ((share >= half - near).argmax(0), (share > half + near).argmax(0))
    ends = [np.take_along_axis(values, place[None], 0)[0] for place in (low, high)]
    return np.where(share[-1] > 0, (ends[0] + ends[1]) / 2, np.nan)
