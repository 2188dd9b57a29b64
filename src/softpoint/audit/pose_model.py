"""What poses are usual: one Gaussian over all coordinates, fitted although points are missing.

Given all other points of a subject it says where each point should be, which follows turns and scale as far as
they act linearly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_RIDGE = 1e-3  # of each variance, added in every iteration
_ITERATIONS = 12
_REMEMBERED = 8_000_000  # numbers in all inverses that a model keeps
_ODDEST = 0.1  # of the poses, which a model leaves out


class PoseModel:
    """A Gaussian over the poses `points` (N, K, 2), NaN where missing, but for the strangest tenth of them."""

    def __init__(self, points: np.ndarray) -> None:
        flat = points.reshape(len(points), -1)
        weight = np.ones(len(flat), bool)
        for _ in range(3):
            self._precisions: dict[bytes, np.ndarray] = {}
            self.mean, self.covariance = fit(flat, weight)
            strange = np.array([self.distance(row) / np.isfinite(row).sum() for row in flat])
            weight = strange <= np.quantile(strange, 1 - _ODDEST)

    def precision(self, known: np.ndarray) -> np.ndarray:
        """Inverse covariance (M, M) of the M known coordinates."""
        key = known.tobytes()
        if key not in self._precisions:
            if len(self._precisions) * self.covariance.size > _REMEMBERED:
                self._precisions.clear()
            self._precisions[key] = np.linalg.inv(self.covariance[np.ix_(known, known)])
        return self._precisions[key]

    def distance(self, pose: np.ndarray) -> float:
        """Squared Mahalanobis distance of a pose (2 K,)."""
        known = np.flatnonzero(np.isfinite(pose))
        rest = pose[known] - self.mean[known]
        return float(rest @ self.precision(known) @ rest)

    def strangeness(self, pose: np.ndarray) -> np.ndarray:
        """Squared distance (K,) of each point (K, 2) from where the others put it; NaN without others."""
        known = np.flatnonzero(np.isfinite(pose.ravel()))
        found = np.full(len(pose), np.nan)
        if len(known) < 4:
            return found
        precision = self.precision(known)
        pull = precision @ (pose.ravel()[known] - self.mean[known])
        for first in range(0, len(known), 2):
            block = slice(first, first + 2)
            found[known[first] // 2] = pull[block] @ np.linalg.solve(precision[block, block], pull[block])
        return found


def fit(rows: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and covariance (D, D) of those `rows` (N, D) whose `weight` (N,) is true, by expectation maximization.

    Missing values are NaN.
    """
    known = np.isfinite(rows)
    counted = known & weight[:, None]
    total = counted.sum(axis=0).clip(1)
    mean = np.where(counted, rows, 0).sum(axis=0) / total
    spread = np.where(counted, (rows - mean) ** 2, 0).sum(axis=0) / total
    spread = np.where(counted.any(axis=0), spread, spread.max())
    floor = 1e-6 * max(float(spread.max()), 1e-12)
    covariance = np.diag(spread + floor)
    patterns: dict[bytes, list[int]] = {}
    for index in np.flatnonzero(weight):
        patterns.setdefault(known[index].tobytes(), []).append(int(index))
    for _ in range(_ITERATIONS):
        mean, covariance = _step(rows, list(patterns.values()), mean, covariance)
        covariance += _RIDGE * np.diag(np.diag(covariance)) + floor * np.eye(len(mean))
    return mean, covariance


def _step(
    rows: np.ndarray, patterns: Sequence[list[int]], mean: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance once the missing values are expected from the known ones."""
    filled, doubt = [], np.zeros_like(covariance)
    for members in patterns:
        known, missing = (np.flatnonzero(np.isfinite(rows[members[0]]) == state) for state in (True, False))
        full = np.tile(mean, (len(members), 1))
        full[:, known] = rows[members][:, known]
        slope = np.linalg.solve(covariance[np.ix_(known, known)], covariance[np.ix_(known, missing)])
        full[:, missing] += (full[:, known] - mean[known]) @ slope
        rest = covariance[np.ix_(missing, missing)] - covariance[np.ix_(missing, known)] @ slope
        doubt[np.ix_(missing, missing)] += len(members) * rest
        filled.append(full)
    poses = np.concatenate(filled)
    centered = poses - poses.mean(axis=0)
    return poses.mean(axis=0), (centered.T @ centered + doubt) / len(poses)
