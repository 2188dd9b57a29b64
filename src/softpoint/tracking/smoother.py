"""The points of one track, each by those before and after it."""

from __future__ import annotations

import numpy as np

from softpoint.tracking.motion import Motion, begin, predict, smooth
from softpoint.tracking.tracker import SPEED, Poses, errors_of, observe, sizes


def smooth_track(frames: np.ndarray, poses: Poses, size: tuple[int, int], noise: float) -> np.ndarray:
    """Return the smoothed keypoints (T, K, 2) of a subject seen in T frames of size (H, W); NaN stays NaN.

    `frames` (T,) are their numbers, in rising order, and `poses` has one subject for each. Points move with a nearly
    constant velocity (`softpoint.tracking.motion`), whose changes have the `noise` of `Tracking`, and count by their
    covariance and confidence.
    """
    covariance, length = errors_of(poses), float(np.median(sizes(poses.keypoints)))
    states = [begin(poses.keypoints[0], covariance[0], SPEED * length)]
    for t in range(1, len(frames)):
        moved = predict(states[-1], float(frames[t] - frames[t - 1]), noise * length)
        area = float(size[0] * size[1])
        states.append(observe(moved, poses.keypoints[t], covariance[t], SPEED * length, area))
    filtered = Motion(*(np.stack(part) for part in zip(*states, strict=True)))
    smoothed = smooth(filtered, frames, noise * length).points
    return np.where(np.isfinite(poses.keypoints), smoothed, np.nan)
