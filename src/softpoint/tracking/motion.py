"""Points that move with a nearly constant velocity: Kalman filter and Rauch-Tung-Striebel smoother, many at once.

Each point has a state of its own: (x, y) in pixels and their changes per frame. Its velocity changes by white noise,
whose standard deviation over one frame is `noise` in px per frame. Source: Bar-Shalom, Li and Kirubarajan, Estimation
with Applications to Tracking and Navigation, 2001, section 6.2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Motion(NamedTuple):
    """Normal distributions of the states of points; the mean is NaN of one that was not seen yet."""

    mean: np.ndarray  # (..., 4): x, y and their changes per frame
    covariance: np.ndarray  # (..., 4, 4)

    @property
    def points(self) -> np.ndarray:
        """The expected positions (..., 2)."""
        return self.mean[..., :2]


def begin(points: np.ndarray, covariance: np.ndarray, speed: np.ndarray | float) -> Motion:
    """Return the motion of points (..., 2) seen once, with errors of this covariance (..., 2, 2).

    Velocities are 0 with a standard deviation of `speed` (...) in px per frame.
    """
    mean = np.concatenate([points, 0 * points], axis=-1)
    both = np.zeros((*points.shape[:-1], 4, 4))
    both[..., :2, :2] = covariance
    both[..., 2, 2] = both[..., 3, 3] = np.square(speed)
    return Motion(mean, both)


def predict(motion: Motion, frames: float, noise: np.ndarray | float) -> Motion:
    """Return the motion that many frames later.

    >>> moving = Motion(np.array([5.0, 0.0, 2.0, -1.0]), np.zeros((4, 4)))
    >>> predict(moving, 3, 0.0).points.tolist()
    [11.0, -3.0]
    """
    moved, power = _transition(frames), np.square(noise)
    added = np.zeros((*np.shape(power), 4, 4))
    for axis in (0, 1):
        added[..., axis, axis] = power * frames**3 / 3
        added[..., axis, axis + 2] = added[..., axis + 2, axis] = power * frames**2 / 2
        added[..., axis + 2, axis + 2] = power * frames
    return Motion(motion.mean @ moved.T, moved @ motion.covariance @ moved.T + added)


def density(motion: Motion, points: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return the density (...) per px² of seeing points (..., 2) with errors of this covariance; NaN for no point.

    >>> still = Motion(np.zeros(4), np.zeros((4, 4)))
    >>> bool(np.isclose(density(still, np.array([2.0, 0.0]), 4 * np.eye(2)), np.exp(-0.5) / (8 * np.pi)))
    True
    """
    x, y = np.moveaxis(points - motion.points, -1, 0)
    spread = motion.covariance[..., :2, :2] + covariance
    xx, xy, yy = spread[..., 0, 0], spread[..., 0, 1], spread[..., 1, 1]
    area = xx * yy - xy**2
    distance = (yy * x**2 - 2 * xy * x * y + xx * y**2) / area  # inverted in place: there may be millions
    result: np.ndarray = np.exp(-distance / 2) / (2 * np.pi * np.sqrt(area))
    return result


def update(motion: Motion, points: np.ndarray, covariance: np.ndarray, speed: np.ndarray | float) -> Motion:
    """Return the motion after points (..., 2) were seen with errors of this covariance; NaN tells nothing.

    A point that is seen first begins with `speed`.
    """
    first, seen = begin(points, covariance, speed), np.isfinite(points).all(-1)
    error = np.where(seen[..., None], points - motion.points, 0.0)
    spread = motion.covariance[..., :2, :2] + covariance
    gain = motion.covariance[..., :, :2] @ np.linalg.inv(spread) * seen[..., None, None]
    mean = motion.mean + np.einsum("...ij,...j->...i", gain, error)
    after = motion.covariance - gain @ motion.covariance[..., :2, :]
    known = np.isfinite(motion.points).all(-1)
    mean = np.where(known[..., None], mean, first.mean)
    return Motion(mean, np.where(known[..., None, None], (after + after.swapaxes(-1, -2)) / 2, first.covariance))


def smooth(filtered: Motion, frames: np.ndarray, noise: np.ndarray | float) -> Motion:
    """Return the motion in T frames by all points seen, from that by the points seen until each, (T, ...).

    `frames` (T,) are their numbers, in rising order.
    """
    mean, covariance = filtered.mean.copy(), filtered.covariance.copy()
    for t in range(len(frames) - 2, -1, -1):
        now, step = Motion(filtered.mean[t], filtered.covariance[t]), float(frames[t + 1] - frames[t])
        ahead = predict(now, step, noise)
        back = now.covariance @ _transition(step).T @ np.linalg.inv(ahead.covariance)
        change = np.einsum("...ij,...j->...i", back, mean[t + 1] - ahead.mean)
        mean[t] += np.nan_to_num(change)  # of a point that is seen later first
        covariance[t] += back @ (covariance[t + 1] - ahead.covariance) @ back.swapaxes(-1, -2)
    return Motion(mean, covariance)


def _transition(frames: float) -> np.ndarray:
    """Return the matrix (4, 4) from a state to that so many frames later."""
    moved = np.eye(4)
    moved[0, 2] = moved[1, 3] = frames
    return moved
