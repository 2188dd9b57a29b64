"""Conformal regions: radii of ellipses that hold a new label with a stated probability, whatever errors are like.

Units (videos, persons; single images without groups) are exchangeable, points within one are not independent. Each unit
weighs the same in the quantile of its scores, and a new one is infinitely bad: then a random point of a new unit is
inside with at least the stated probability (Lee, Barber and Willett, Distribution-free inference with hierarchical
data, arXiv:2306.06342; Dunn, Wasserman and Ramdas, arXiv:1809.07441). With units of one point each it is split
conformal prediction (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005).
"""

from __future__ import annotations

import math

import numpy as np

from softpoint.metrics.functional import squared_mahalanobis

_ROUNDING = 1e-9


def needed_units(level: float) -> int:
    """Smallest number of units n with ceil((n + 1) level) <= n, below which no bounded region has this probability.

    >>> needed_units(0.5), needed_units(0.9), needed_units(0.99)
    (1, 9, 99)
    """
    return math.ceil(level / (1 - level) - _ROUNDING)


def conformal_quantile(scores: np.ndarray, unit: np.ndarray, level: float) -> float:
    """Smallest bound that the score of a random point of a new unit keeps with probability `level`.

    `scores` and `unit` (P,) are of all points; NaN scores are left out. Infinite for fewer than `needed_units`.

    >>> conformal_quantile(np.arange(9.0), np.arange(9), 0.9), conformal_quantile(np.arange(8.0), np.arange(8), 0.9)
    (8.0, inf)
    >>> conformal_quantile(np.array([1.0, 2.0, 3.0, 9.0]), np.array([0, 0, 0, 1]), 0.3)
    3.0
    """
    measured = ~np.isnan(scores)
    scores, (_, unit) = scores[measured], np.unique(unit[measured], return_inverse=True)
    size = np.bincount(unit)
    order = np.argsort(scores, kind="stable")
    share = np.cumsum(1 / size[unit[order]]) / (len(size) + 1)
    place = int(np.searchsorted(share, level - _ROUNDING))
    return float(scores[order][place]) if place < len(scores) else math.inf


def region_radii(distance: np.ndarray, unit: np.ndarray, level: float) -> np.ndarray:
    """Radii (K + 1,) in Mahalanobis distances: of each keypoint's region, and last of the joint one.

    `distance` (N, K) is NaN where unlabeled, `unit` (N,) that of each subject. All labeled points of a new subject are
    within the joint radius with probability `level`. Infinite where the units are too few.

    >>> distance = np.column_stack((np.arange(9.0), np.full(9, np.nan)))
    >>> region_radii(distance, np.arange(9), 0.9).tolist()
    [8.0, inf, 8.0]
    """
    return np.array([conformal_quantile(column, unit, level) for column in (*distance.T, joint_scores(distance))])


def joint_scores(distance: np.ndarray) -> np.ndarray:
    """Largest distance (N,) of each subject's labeled points; NaN without any."""
    labeled = ~np.isnan(distance)
    largest = np.where(labeled, distance, -np.inf).max(1, initial=-np.inf)
    return np.where(labeled.any(1), largest, np.nan)


def mahalanobis(error: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Mahalanobis distances (...) of errors (..., 2); NaN where an error is."""
    distance = np.sqrt(squared_mahalanobis(error, covariance))
    return np.where(np.isfinite(error).all(-1), distance, np.nan)


def unit_shares(inside: np.ndarray, unit: np.ndarray, units: int) -> np.ndarray:
    """Fraction (units,) of each unit's points that are `inside` (P,): 1, 0, or NaN for unmeasured; NaN without any.

    Their mean is what the promise of a region is about.

    >>> unit_shares(np.array([1.0, 1.0, 0.0, 0.0, np.nan]), np.array([0, 0, 0, 1, 1]), 3).round(3).tolist()
    [0.667, 0.0, nan]
    """
    measured, shares = ~np.isnan(inside), np.full(units, np.nan)
    size = np.bincount(unit[measured], minlength=units)
    np.divide(np.bincount(unit[measured], inside[measured], units), size, out=shares, where=size > 0)
    return shares
