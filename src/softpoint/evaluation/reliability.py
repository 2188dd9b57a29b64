"""Whether confidences and covariances say the truth: calibration error, coverage, rank correlation, and an image."""

from __future__ import annotations

import numpy as np

from softpoint.evaluation.results import Results
from softpoint.viz.chart import line_chart

# Of the subject's scale: what a confidence is the probability of an error up to, where nothing else is said.
FRACTION = 0.05
CALIBRATION = ("ece", "coverage_50", "coverage_90", "rank_correlation")
BINS = 10
_SIZE = (480, 560)  # pixels of each of the three charts


def reliability(results: Results, fraction: float = FRACTION) -> dict[str, float]:
    """How far what the model says of its errors agrees with them, over all labeled points.

    `ece`: the expected calibration error in 10 equal bins of confidence, the mean difference of confidence and hit
    rate weighed by the points of each bin (Guo et al., arXiv:1706.04599); a hit is an error of at most `fraction` of
    the subject's scale. `coverage_50` and `coverage_90`: how many errors lie within the ellipses d^2 <= 1.386 and
    4.605 of their covariance, which should be 0.5 and 0.9. `rank_correlation`: Spearman's, of predicted error and
    error. NaN where there are no points, or no two that differ.
    """
    hit, confidence, squared, predicted, error = _points(results, fraction)
    return {
        "ece": expected_calibration_error(confidence, hit),
        "coverage_50": _coverage(squared, 0.5),
        "coverage_90": _coverage(squared, 0.9),
        "rank_correlation": rank_correlation(predicted, error),
    }


def expected_calibration_error(confidence: np.ndarray, hit: np.ndarray) -> float:
    """Mean over points of |mean confidence - hit rate| of a point's bin, of 10 between 0 and 1.

    >>> expected_calibration_error(np.array([0.75, 0.75, 0.75, 0.75, 0.2]), np.array([True, True, True, False, False]))
    0.04
    """
    if not len(confidence):
        return float("nan")
    return float(sum(abs(said - seen) * count for said, seen, count in _bins(confidence, hit)) / len(confidence))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's: the correlation of ranks, equal values sharing theirs; NaN where either is constant.

    >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 10.0, 100.0]))
    1.0
    """
    x, y = _ranks(a), _ranks(b)
    spread = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / spread) if spread > 0 else float("nan")


def reliability_figure(results: Results, fraction: float = FRACTION) -> np.ndarray:
    """Hit rate over confidence, coverage over probability, and error over predicted error, as one image (H, W, 3).

    Bars are 95 % intervals of the hit rates.
    """
    hit, confidence, squared, predicted, error = _points(results, fraction)
    return np.concatenate(
        [
            _confidence_chart(confidence, hit, fraction),
            _coverage_chart(squared),
            _error_chart(predicted, error),
        ],
        axis=1,
    )


def _points(results: Results, fraction: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of each labeled point: hit, confidence, squared Mahalanobis distance, predicted error and error in px."""
    known = results.labeled
    error = results.errors[known]
    covariance = results.covariance[known]
    allowed = np.broadcast_to(fraction * results.scale[:, None], known.shape)[known]
    squared = _mahalanobis((results.keypoints - results.truth)[known], covariance)
    predicted = np.sqrt(np.trace(covariance, axis1=1, axis2=2).clip(0))
    return error <= allowed, results.confidence[known], squared, predicted, error


def _mahalanobis(error: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """e^T C^-1 e, infinite where C has no inverse and e is not 0."""
    (x, y), (xx, xy, yy) = error.T, (covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1])
    above, below = x * x * yy - 2 * x * y * xy + y * y * xx, xx * yy - xy * xy
    known = (below > 0) & np.isfinite(below)
    return np.where(known, above / np.where(known, below, 1), np.where((x == 0) & (y == 0), 0, np.inf))


def _coverage(squared: np.ndarray, level: float) -> float:
    return float((squared <= _quantile(level)).mean()) if len(squared) else float("nan")


def _quantile(level: float) -> float:
    """Of the chi-square distribution of two degrees of freedom."""
    return -2 * float(np.log1p(-level))


def _bins(confidence: np.ndarray, hit: np.ndarray) -> list[tuple[float, float, int]]:
    """Mean confidence, hit rate and count of each bin that has points."""
    which = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    members = [which == i for i in range(BINS)]
    return [(float(confidence[m].mean()), float(hit[m].mean()), int(m.sum())) for m in members if m.any()]


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from the smallest, equal values sharing the mean of theirs, less the mean of all."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[which]
    return ranks - ranks.mean() if len(ranks) else ranks


def _confidence_chart(confidence: np.ndarray, hit: np.ndarray, fraction: float) -> np.ndarray:
    said, seen, count = np.array(_bins(confidence, hit)).reshape(-1, 3).T
    return line_chart(
        {"exact": ([0, 1], [0, 1]), "measured": (said, seen)},
        f"confidence: calibration error {expected_calibration_error(confidence, hit):.3f}",
        "confidence",
        f"errors up to {100 * fraction:g} % of the subject",
        errors={"measured": _wilson(seen, count)},
        dashed=["exact"],
        x_limits=(0, 1),
        y_limits=(0, 1),
        size=_SIZE,
    )


def _wilson(rate: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % interval of a rate of `count` cases, which has a width at 0 and at 1 too (Wilson, 1927)."""
    z = 1.96
    middle, below = rate + z**2 / (2 * count), 1 + z**2 / count
    half = z * np.sqrt(rate * (1 - rate) / count + z**2 / (4 * count**2))
    return (middle - half) / below, (middle + half) / below


def _coverage_chart(squared: np.ndarray) -> np.ndarray:
    levels = np.linspace(0, 0.99, 100)
    inside = [_coverage(squared, level) for level in levels]
    held = f"{100 * _coverage(squared, 0.5):.0f} % and {100 * _coverage(squared, 0.9):.0f} %"
    return line_chart(
        {"exact": ([0, 1], [0, 1]), "measured": (levels, inside)},
        f"ellipses of 50 and 90 % hold {held}",
        "probability of the ellipse",
        "errors in it",
        dashed=["exact"],
        x_limits=(0, 1),
        y_limits=(0, 1),
        size=_SIZE,
    )


def _error_chart(predicted: np.ndarray, error: np.ndarray) -> np.ndarray:
    x, y = predicted.clip(1e-2), error.clip(1e-2)
    ends = [float(x.min()), float(x.max())] if len(x) else [1.0, 2.0]
    return line_chart(
        {"points": (x, y), "exact": (ends, ends)},
        f"rank correlation {rank_correlation(predicted, error):.2f}",
        "predicted error (px)",
        "error (px)",
        scatter=["points"],
        dashed=["exact"],
        log_x=True,
        log_y=True,
        size=_SIZE,
    )
