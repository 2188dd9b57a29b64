"""A threshold of confidence above which points are wrong at most at a stated rate, with a stated confidence.

A unit (a video, a person; an image where there are no groups) adds the share of its points that are accepted, and the
share that are accepted and wrong. Their units are independent, points of one are not: a bet against the claim that the
rate is larger grows with each unit (Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting,
arXiv:2010.09686). Thresholds are tested in fixed sequences, from several starts among which the error probability is
divided (Angelopoulos et al., Learn then Test, arXiv:2110.01052).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy

# Confidences at which a sequence of tests starts, and the step down to the next: chosen before any data was seen.
STARTS = (0.98, 0.9, 0.76, 0.5)
STEP = 0.02
# Bets that are mixed, as fractions of the largest that cannot lose everything.
_BETS = (0.1, 0.3, 0.6, 0.98)


class Accepted(NamedTuple):
    """What a threshold of confidence accepts of labeled points, each unit weighing the same."""

    threshold: float
    share: float  # of the points
    wrong: float  # share of these that are wrong; 0 of none
    points: int


def choose_threshold(
    confidence: np.ndarray, wrong: np.ndarray, unit: np.ndarray, rate: float, certainty: float
) -> float | None:
    """Lowest tested threshold whose accepted points are wrong at most at `rate`, with probability `certainty`.

    Of all points: `confidence`, `wrong` and `unit` (P,). None where no threshold is shown to keep the rate.

    >>> confidence = np.linspace(0, 1, 1000)
    >>> choose_threshold(confidence, confidence < 0.6, np.arange(1000), 0.05, 0.95)
    0.6
    >>> choose_threshold(confidence[:20], confidence[:20] < 0.6, np.arange(20), 0.05, 0.95) is None
    True
    """
    level, found = (1 - certainty) / len(STARTS), None
    for start in STARTS:
        for threshold in _down_from(start):
            if p_value(confidence >= threshold, wrong, unit, rate) > level:
                break
            found = threshold if found is None else min(found, threshold)
    return found


def p_value(accepted: np.ndarray, wrong: np.ndarray, unit: np.ndarray, rate: float) -> float:
    """Largest probability of data like these where accepted points are wrong at more than `rate`.

    >>> unit, accepted = np.arange(90), np.ones(90, bool)
    >>> round(p_value(accepted, np.zeros(90, bool), unit, 0.05), 6) == round(0.95**90, 6)
    True
    """
    if not accepted.any():
        return 1.0
    if len(np.unique(unit)) == len(unit):  # single points: the exact test of a rate (Clopper and Pearson, 1934)
        return float(scipy.stats.binom.cdf((accepted & wrong).sum(), accepted.sum(), rate))
    shares = _unit_means(np.stack((accepted, accepted & wrong)), unit)
    return _bet(shares[1] + rate * (1 - shares[0]), rate)


def needed_units(rate: float, certainty: float, single: bool) -> int:
    """Smallest number of units that can show a rate: all of their points accepted, and none wrong.

    `single` says that each has one point.

    >>> needed_units(0.05, 0.95, single=True), needed_units(0.05, 0.95, single=False)
    (86, 113)
    """
    level = (1 - certainty) / len(STARTS)
    count, step = 0, 1 << 24
    while step:
        passed = (1 - rate) ** (count + step) if single else _bet(np.zeros(1), rate, repeat=count + step)
        count += step * (passed > level)
        step >>= 1
    return count + 1


def upper_bound(accepted: np.ndarray, wrong: np.ndarray, unit: np.ndarray, certainty: float) -> float:
    """Rate below which accepted points are wrong, with probability `certainty`, of this one threshold.

    >>> round(upper_bound(np.ones(59, bool), np.zeros(59, bool), np.arange(59), 0.95), 3)
    0.05
    """
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if p_value(accepted, wrong, unit, middle) <= 1 - certainty else (middle, high)
    return high


def risk_coverage(confidence: np.ndarray, wrong: np.ndarray, unit: np.ndarray) -> list[Accepted]:
    """What each tested threshold accepts, the highest first.

    >>> risk_coverage(np.array([0.5, 1.0]), np.array([True, False]), np.arange(2))[-1]
    Accepted(threshold=0.0, share=1.0, wrong=0.5, points=2)
    """
    rows = []
    for threshold in _down_from(1.0):
        accepted = confidence >= threshold
        share, off = _unit_means(np.stack((accepted, accepted & wrong)), unit).mean(1).tolist()
        rows.append(Accepted(threshold, share, off / share if share else 0.0, int(accepted.sum())))
    return rows


def _down_from(start: float) -> list[float]:
    """Thresholds from `start` to 0 in steps of `STEP`."""
    return [round(STEP * i, 6) for i in range(round(start / STEP), -1, -1)]


def _unit_means(rows: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Means (rows, units) over the points of each unit."""
    _, unit = np.unique(unit, return_inverse=True)
    return np.stack([np.bincount(unit, row) for row in rows.astype(float)]) / np.bincount(unit)


def _bet(values: np.ndarray, rate: float, repeat: int = 1) -> float:
    """P-value of the claim that independent values (U,) in [0, 1] have a mean of at least `rate`, 0 < rate < 1.

    It is the inverse of the gain of bets that the next value is smaller, mixed evenly, which by Ville's and Markov's
    inequalities is valid in any order.
    """
    bets = np.array(_BETS) / (1 - rate)
    gains = repeat * np.log1p(bets[:, None] * (rate - values)).sum(1)
    highest = gains.max()
    return float(min(1.0, np.exp(-highest) / np.exp(gains - highest).mean()))
