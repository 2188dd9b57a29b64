"""Metrics of a whole set: whether confidences and covariances agree with the errors."""

from __future__ import annotations

import numpy as np

from softpoint.metrics.functional import Points, errors
from softpoint.metrics.ranks import mean_ranks

# Of the subject's scale: the error up to which a confidence is a probability, where a run does not state another.
FRACTION = 0.05
BINS = 10


def ece(points: Points, fraction: float = FRACTION) -> float:
    """Expected calibration error of the confidence as the probability of an error up to `fraction` of the scale."""
    return expected_calibration_error(*confidences_and_hits(points, fraction))


def error_rank_correlation(points: Points, fraction: float = FRACTION) -> float:
    """Spearman's rank correlation of predicted errors, sqrt(trace(covariance)), and errors; `fraction` has no part."""
    return rank_correlation(*predicted_and_real_errors(points))


def confidences_and_hits(points: Points, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Confidence (P,) of each labeled point, and whether its error is at most `fraction` of the subject's scale."""
    distance = errors(points)
    labeled = np.isfinite(distance) & np.isfinite(points.confidence)
    return points.confidence[labeled], (distance <= fraction * points.scale[:, None])[labeled]


def confidence_quarters(confidence: np.ndarray) -> list[np.ndarray]:
    """Return the places of each quarter of points (P,) by confidence, the lowest first; of few points, of fewer.

    >>> [part.tolist() for part in confidence_quarters(np.array([0.9, 0.1, 0.5, 0.3, 0.7]))]
    [[1, 3], [2], [4], [0]]
    """
    return [part for part in np.array_split(np.argsort(confidence, kind="stable"), 4) if len(part)]


def predicted_and_real_errors(points: Points) -> tuple[np.ndarray, np.ndarray]:
    """Root mean square error that the covariance predicts, and error, of each labeled point (P,) in px."""
    distance = errors(points)
    labeled = np.isfinite(distance) & np.isfinite(points.covariance).all((-1, -2))
    return np.sqrt(np.trace(points.covariance, axis1=-2, axis2=-1).clip(0))[labeled], distance[labeled]


def expected_calibration_error(confidence: np.ndarray, hit: np.ndarray) -> float:
    """Mean over points of |mean confidence - hit rate| of their bin, of 10 between 0 and 1; NaN for no points.

    Source: Guo et al., On Calibration of Modern Neural Networks, arXiv:1706.04599.

    >>> expected_calibration_error(np.array([0.75, 0.75, 0.75, 0.75, 0.2]), np.array([True, True, True, False, False]))
    0.04
    """
    index = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    # The count of a bin cancels: |mean - rate| x count is the difference of two sums.
    difference = np.bincount(index, confidence - hit, BINS)
    return float(np.abs(difference).sum() / len(confidence)) if len(confidence) else float("nan")


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation, equal values sharing the mean of their ranks; NaN where either is constant.

    >>> round(rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 10.0, 100.0])), 6)
    1.0
    """
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(mean_ranks(a), mean_ranks(b))[0, 1])
