"""Reliability of confidences and covariances: calibration error, coverage of ellipses, and rank correlation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from softpoint.evaluation.results import Results

# Fraction of the subject's scale within which a confidence is the probability of an error, by default.
FRACTION = 0.05
CALIBRATION = ("ece", "coverage_50", "coverage_90", "rank_correlation")
BINS = 10


class CalibrationPoints(NamedTuple):
    """Predicted and actual errors of P labeled points: arrays (P,)."""

    hit: np.ndarray  # whether the error is at most `fraction` of the subject's scale
    confidence: np.ndarray
    squared_distance: np.ndarray  # Mahalanobis distance, squared
    predicted_error: np.ndarray  # px, the root of the covariance's trace
    error: np.ndarray  # px


def reliability(results: Results, fraction: float = FRACTION) -> dict[str, float]:
    """Return how well confidences and covariances agree with the errors of all labeled points.

    `ece`: the expected calibration error in 10 equal bins of confidence, the mean difference of confidence and hit
    rate weighted by the points of each bin (Guo et al., arXiv:1706.04599); a hit is an error of at most `fraction` of
    the subject's scale. `coverage_50` and `coverage_90`: the fraction of errors within the ellipses d^2 <= 1.386 and
    4.605 of their covariance, ideally 0.5 and 0.9. `rank_correlation`: Spearman's, of predicted error and error. NaN
    for no points, and for points that are all equal.
    """
    points = calibration_points(results, fraction)
    return {
        "ece": expected_calibration_error(points.confidence, points.hit),
        "coverage_50": coverage(points.squared_distance, 0.5),
        "coverage_90": coverage(points.squared_distance, 0.9),
        "rank_correlation": rank_correlation(points.predicted_error, points.error),
    }


def expected_calibration_error(confidence: np.ndarray, hit: np.ndarray) -> float:
    """Return the mean over points of |mean confidence - hit rate| of their bin, of 10 bins between 0 and 1.

    >>> expected_calibration_error(np.array([0.75, 0.75, 0.75, 0.75, 0.2]), np.array([True, True, True, False, False]))
    0.04
    """
    if not len(confidence):
        return float("nan")
    bins = reliability_bins(confidence, hit)
    return float(sum(abs(mean - rate) * count for mean, rate, count in bins) / len(confidence))


def reliability_bins(confidence: np.ndarray, hit: np.ndarray) -> list[tuple[float, float, int]]:
    """Return the mean confidence, hit rate and count of each bin that has points."""
    index = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    members = [index == i for i in range(BINS)]
    return [(float(confidence[m].mean()), float(hit[m].mean()), int(m.sum())) for m in members if m.any()]


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Spearman's rank correlation; NaN where either is constant.

    >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 10.0, 100.0]))
    1.0
    """
    if not len(a) or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(stats.spearmanr(a, b).statistic)


def coverage(squared_distance: np.ndarray, level: float) -> float:
    """Return the fraction of squared Mahalanobis distances within the ellipse of probability `level`."""
    limit = -2 * np.log1p(-level)  # the quantile of the chi-square distribution of two degrees of freedom
    return float((squared_distance <= limit).mean()) if len(squared_distance) else float("nan")


def calibration_points(results: Results, fraction: float = FRACTION) -> CalibrationPoints:
    """Return predicted and actual errors of all labeled points."""
    labeled = results.labeled
    error, covariance = results.errors[labeled], results.covariance[labeled]
    allowed = np.broadcast_to(fraction * results.scale[:, None], labeled.shape)[labeled]
    squared = _mahalanobis((results.keypoints - results.truth)[labeled], covariance)
    predicted = np.sqrt(np.trace(covariance, axis1=1, axis2=2).clip(0))
    return CalibrationPoints(error <= allowed, results.confidence[labeled], squared, predicted, error)


def _mahalanobis(error: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return e^T C^-1 e; infinite where C has no inverse and e is not 0."""
    (x, y), (xx, xy, yy) = error.T, (covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1])
    above, below = x * x * yy - 2 * x * y * xy + y * y * xx, xx * yy - xy * xy
    valid = (below > 0) & np.isfinite(below)
    return np.where(valid, above / np.where(valid, below, 1), np.where((x == 0) & (y == 0), 0, np.inf))
