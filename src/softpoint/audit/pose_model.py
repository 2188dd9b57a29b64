"""A Gaussian over the poses of a data set, fitted with missing points.

Given the other points of a subject, it predicts where each point should be; rotation and scale are covered as far
as they act linearly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_RIDGE = 1e-3  # share of each variance added in every iteration
_ITERATIONS = 12
_CACHE = 8_000_000  # numbers in all cached inverses
_TRIMMED = 0.1  # share of the most unusual poses that the fit leaves out


class PoseModel:
    """A Gaussian fitted to poses `points` (N, K, 2), NaN where missing, without the most unusual tenth."""

    def __init__(self, points: np.ndarray) -> None:
        flat = points.reshape(len(points), -1)
        weight = np.ones(len(flat), bool)
        for _ in range(3):
            self._precisions: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
            self.mean, self.covariance = fit(flat, weight)
            distances = np.array([self.distance(row) / np.isfinite(row).sum() for row in flat])
            weight = distances <= np.quantile(distances, 1 - _TRIMMED)

    def precision(self, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the inverse covariance P (M, M) of M observed coordinates, and P_bb^-1 (M / 2, 2, 2) of points b."""
        key = observed.tobytes()
        if key not in self._precisions:
            if len(self._precisions) * self.covariance.size > _CACHE:
                self._precisions.clear()
            precision = np.linalg.inv(self.covariance[np.ix_(observed, observed)])
            points = np.arange(len(observed) // 2)
            blocks = precision.reshape(len(points), 2, len(points), 2)[points, :, points]
            self._precisions[key] = precision, np.linalg.inv(blocks)
        return self._precisions[key]

    def distance(self, pose: np.ndarray) -> float:
        """Return the squared Mahalanobis distance of a pose (2 K,)."""
        observed = np.flatnonzero(np.isfinite(pose))
        residual = pose[observed] - self.mean[observed]
        return float(residual @ self.precision(observed)[0] @ residual)

    def point_distances(self, pose: np.ndarray) -> np.ndarray:
        """Return each point's (K,) squared Mahalanobis distance given the others in `pose` (K, 2); NaN without others.

        The conditional of a block b of a Gaussian with precision P and residual r has precision P_bb and residual
        P_bb^-1 (P r)_b.
        """
        observed = np.flatnonzero(np.isfinite(pose.ravel()))
        distances = np.full(len(pose), np.nan)
        if len(observed) < 4:
            return distances
        precision, inverse = self.precision(observed)
        gradient = (precision @ (pose.ravel()[observed] - self.mean[observed])).reshape(-1, 2)
        distances[observed[::2] // 2] = np.einsum("bi,bij,bj->b", gradient, inverse, gradient)
        return distances


def fit(rows: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean (D,) and covariance (D, D) of the `rows` (N, D) whose `weight` (N,) is true.

    Missing values are NaN and are estimated by expectation maximization.
    """
    observed = np.isfinite(rows)
    counted = observed & weight[:, None]
    total = counted.sum(axis=0).clip(1)
    mean = np.where(counted, rows, 0).sum(axis=0) / total
    variance = np.where(counted, (rows - mean) ** 2, 0).sum(axis=0) / total
    variance = np.where(counted.any(axis=0), variance, variance.max())
    floor = 1e-6 * max(float(variance.max()), 1e-12)
    covariance = np.diag(variance + floor)
    patterns: dict[bytes, list[int]] = {}
    for index in np.flatnonzero(weight):
        patterns.setdefault(observed[index].tobytes(), []).append(int(index))
    for _ in range(_ITERATIONS):
        mean, covariance = _em_step(rows, list(patterns.values()), mean, covariance)
        covariance += _RIDGE * np.diag(np.diag(covariance)) + floor * np.eye(len(mean))
    return mean, covariance


def _em_step(
    rows: np.ndarray, patterns: Sequence[list[int]], mean: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance after one step; rows of one pattern miss the same values."""
    filled, uncertainty = [], np.zeros_like(covariance)
    for members in patterns:
        observed, missing = (np.flatnonzero(np.isfinite(rows[members[0]]) == state) for state in (True, False))
        full = np.tile(mean, (len(members), 1))
        full[:, observed] = rows[members][:, observed]
        slope = np.linalg.solve(covariance[np.ix_(observed, observed)], covariance[np.ix_(observed, missing)])
        full[:, missing] += (full[:, observed] - mean[observed]) @ slope
        residual = covariance[np.ix_(missing, missing)] - covariance[np.ix_(missing, observed)] @ slope
        uncertainty[np.ix_(missing, missing)] += len(members) * residual
        filled.append(full)
    poses = np.concatenate(filled)
    centered = poses - poses.mean(axis=0)
    return poses.mean(axis=0), (centered.T @ centered + uncertainty) / len(poses)
