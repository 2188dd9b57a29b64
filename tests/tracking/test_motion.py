"""The filter and the smoother are the least-squares solution of their model, and leave a straight path as it is."""

from __future__ import annotations

import numpy as np
import pytest

from softpoint.tracking import Poses, smooth_track
from softpoint.tracking.motion import Motion, begin, predict, smooth, update


def moving(frames: np.ndarray, K: int = 3) -> np.ndarray:
    """Points (T, K, 2) of constant velocity."""
    start, speed = np.arange(2 * K).reshape(K, 2) * 20.0, np.array([[3.0, -2.0]])
    return start + frames[:, None, None] * speed


def poses(points: np.ndarray, sd: float = 3.0) -> Poses:
    covariance = np.broadcast_to(sd**2 * np.eye(2), (*points.shape[:2], 2, 2))
    return Poses(points, covariance, np.ones(points.shape[:2]), np.full(len(points), np.nan))


def test_a_path_without_noise_is_returned() -> None:
    frames = np.array([0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 18])  # some are missing
    points = moving(frames)
    # A velocity is not known at the start: the filter begins at 0, and the smoother knows better.
    smoothed = smooth_track(frames, poses(points, 1e-3), (480, 640), noise=0.02)
    np.testing.assert_allclose(smoothed[3:-3], points[3:-3], atol=0.02)


def test_the_smoother_is_the_solution_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    frames, noise, sd, speed = np.array([0, 1, 2, 4, 5, 8]), 0.7, 1.5, 4.0
    seen = rng.normal(0, 5, (6, 2))
    spread = sd**2 * np.eye(2)
    states = [begin(seen[0], spread, speed)]
    for t in range(1, 6):
        states.append(update(predict(states[-1], float(frames[t] - frames[t - 1]), noise), seen[t], spread, speed))
    filtered = Motion(*(np.stack(part) for part in zip(*states, strict=True)))
    result = smooth(filtered, frames, noise)

    # The same as one linear problem of 6 states along x: its terms are the observations, the start, and each change.
    rows, values = [], []
    for t in range(6):
        rows.append(np.eye(12)[2 * t] / sd)
        values.append(seen[t, 0] / sd)
    rows.append(np.eye(12)[1] / speed)
    values.append(0.0)
    for t in range(1, 6):
        step = float(frames[t] - frames[t - 1])
        added = noise**2 * np.array([[step**3 / 3, step**2 / 2], [step**2 / 2, step]])
        whitened = np.linalg.inv(np.linalg.cholesky(added))
        change = np.zeros((2, 12))
        change[:, 2 * t : 2 * t + 2] = np.eye(2)
        change[:, 2 * t - 2 : 2 * t] = -np.array([[1, step], [0, 1]])
        rows += list(whitened @ change)
        values += [0.0, 0.0]
    matrix = np.array(rows)
    solution = np.linalg.lstsq(matrix, np.array(values), rcond=None)[0]
    np.testing.assert_allclose(result.mean[:, [0, 2]].ravel(), solution, atol=1e-9)
    inverse = np.linalg.inv(matrix.T @ matrix)
    np.testing.assert_allclose(result.covariance[:, 0, 0], np.diag(inverse)[::2], atol=1e-9)


def test_smoothing_reduces_the_error_and_keeps_what_is_missing() -> None:
    rng, frames = np.random.default_rng(1), np.arange(200)
    true = moving(frames) + 30 * np.sin(frames / 20)[:, None, None]
    noisy = true + rng.normal(0, 3, true.shape)
    noisy[50:60, 1] = np.nan
    smoothed = smooth_track(frames, poses(noisy), (480, 640), noise=0.01)
    assert np.isnan(smoothed[50:60, 1]).all() and np.isfinite(smoothed[60:, 1]).all()
    errors = [np.nanmean(np.linalg.norm(points - true, axis=-1)) for points in (noisy, smoothed)]
    assert errors[1] < 0.6 * errors[0]


def test_an_outlier_of_low_confidence_has_little_weight() -> None:
    frames = np.arange(20)
    found = poses(moving(frames))
    confidence = found.confidence.copy()
    found.keypoints[10, 1] += 100
    confidence[10, 1] = 0.05
    smoothed = smooth_track(frames, found._replace(confidence=confidence), (480, 640), noise=0.02)
    assert np.linalg.norm(smoothed[10, 1] - moving(frames)[10, 1]) < 3


@pytest.mark.parametrize("first", [0, 5])
def test_a_point_that_is_seen_later_begins_there(first: int) -> None:
    frames, points = np.arange(12), moving(np.arange(12))
    points[:first, 0] = np.nan
    smoothed = smooth_track(frames, poses(points, 0.5), (480, 640), noise=0.02)
    assert np.isnan(smoothed[:first, 0]).all()
    np.testing.assert_allclose(smoothed[first:], points[first:], atol=0.5)
