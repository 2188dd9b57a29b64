"""Bootstrap intervals: how much a metric would vary on other images like these (Efron, 1979).

Whole units are drawn with replacement, the groups that a split never divides (videos, sessions, persons), because the
errors of points of one image are correlated, and those of images of one video. Images of a single group are drawn
alone. Percentiles of few units would be too narrow, so that intervals are expanded as Student's t is wider than a
Gaussian (the expanded percentile interval of Hesterberg, arXiv:1411.5279). Fewer than `MIN_UNITS` units give none:
their resamples never reach as far as an interval must.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

LEVEL = 0.95
MIN_UNITS = 6
_CELLS = 1 << 23  # numbers held at a time


def find_units(images: Sequence[str], groups: Sequence[str], has_groups: bool = False) -> tuple[np.ndarray, str]:
    """Return the unit (N,) of each subject, as a number from 0 on, and the kind of the units: "groups" or "images".

    Images of one group are units where it is all that there is; with `has_groups` there are others that these subjects
    are not of, and it is one unit.

    >>> find_units(["a.png", "a.png", "b.png"], ["v", "v", "v"])
    (array([0, 0, 1]), 'images')
    >>> find_units(["a.png", "a.png", "b.png"], ["v", "v", "v"], has_groups=True)
    (array([0, 0, 0]), 'groups')
    """
    several = has_groups or len(set(groups)) > 1
    kind = "groups" if several and len(set(groups)) < len(set(images)) else "images"
    return np.unique(groups if kind == "groups" else images, return_inverse=True)[1], kind


def count_units(units: int, kind: str) -> str:
    """Return a number of units in words.

    >>> count_units(1, "groups"), count_units(3, "images")
    ('1 group', '3 images')
    """
    return f"{units} {kind.removesuffix('s') if units == 1 else kind}"


def draw_counts(units: int, draws: int, seed: int) -> np.ndarray:
    """Return how often each unit is in each resample: float64 (draws, units), every row summing to `units`.

    A single unit has no resamples, as it gives no measure of variation. Raises ValueError for negative `draws`.
    """
    if draws < 0:
        raise ValueError(f"draws={draws} must be 0, for no intervals, or more; 2000 are usual")
    rng = np.random.default_rng(seed)
    return rng.multinomial(units, np.full(units, 1 / units), size=draws if units > 1 else 0).astype(float)


def mean_draws(values: np.ndarray, unit: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean of all finite `values` (N, K) in each resample (draws,); NaN in one that has none of them.

    >>> mean_draws(np.array([[1.0], [5.0]]), np.array([0, 1]), np.array([[2.0, 0.0], [1.0, 1.0]])).tolist()
    [1.0, 3.0]
    """
    finite = np.isfinite(values)
    sums = np.bincount(unit, np.where(finite, values, 0).sum(1), counts.shape[1])
    sizes = np.bincount(unit, finite.sum(1), counts.shape[1])
    total, means = counts @ sizes, np.full(len(counts), np.nan)
    np.divide(counts @ sums, total, out=means, where=total > 0)
    return means


def quantile_draws(values: np.ndarray, unit: np.ndarray, counts: np.ndarray, share: float) -> np.ndarray:
    """Return the `share` quantile of all finite `values` (N, K) in each resample (draws,), interpolated as by numpy."""
    rows, columns = np.nonzero(np.isfinite(values))
    order = np.argsort(values[rows, columns], kind="stable")
    ranked, owner = values[rows, columns][order], unit[rows][order]
    quantiles = [np.empty(0)]
    step = max(1, _CELLS // max(len(ranked), 1))
    for start in range(0, len(counts), step):
        quantiles.append(_weighted_quantile(ranked, counts[start : start + step, owner], share))
    return np.concatenate(quantiles)


def interval(draws: np.ndarray, units: int) -> tuple[float, float] | None:
    """Return the ends of the 95 % interval of draws from so many units; None for fewer than 6, or no finite draw.

    With many units they hold the middle 95 % of the draws, with few of them more.

    >>> [[round(end) for end in interval(np.arange(1001.0), units)] for units in (100_000, 10)]
    [[25, 975], [9, 991]]
    """
    finite = draws[np.isfinite(draws)]
    if not len(finite) or units < MIN_UNITS:
        return None
    beyond = scipy.stats.norm.sf(scipy.stats.t.ppf((1 + LEVEL) / 2, units - 1) * np.sqrt(units / (units - 1)))
    low, high = np.quantile(finite, [beyond, 1 - beyond])
    return float(low), float(high)


def ratio_interval(totals: np.ndarray, points: np.ndarray, unit: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of the mean per point, from the totals (N,) and numbers of points of samples of units.

    Student's interval of a ratio of sums, for units of unequal numbers of points (Cochran, Sampling Techniques, 6.4);
    without bound for a single unit.

    >>> one = np.ones(4)
    >>> [round(end, 3) for end in ratio_interval(np.array([1.0, 2, 1, 2]), one, np.arange(4))]
    [0.581, 2.419]
    >>> ratio_interval(one, one, np.zeros(4, int))
    (-inf, inf)
    """
    sums, counts = np.bincount(unit, totals), np.bincount(unit, points)
    mean, units = float(sums.sum() / counts.sum()), len(sums)
    if units < 2:
        return -np.inf, np.inf
    deviation = float(np.sqrt(units / (units - 1) * np.square(sums - mean * counts).sum())) / float(counts.sum())
    half = float(scipy.stats.t.ppf((1 + LEVEL) / 2, units - 1)) * deviation
    return mean - half, mean + half


def probability_above(draws: np.ndarray, units: int) -> float:
    """Return the probability that a value is above 0, by draws of it from so many units, of which some are finite.

    With many units it is the fraction of the draws, half of those at 0 included; with few of them it is nearer to 0.5,
    and 0.975 where `interval` begins at 0.

    >>> [round(probability_above(np.arange(1001.0) - 25, units), 3) for units in (100_000, 10)]
    [0.975, 0.951]
    """
    finite = draws[np.isfinite(draws)]
    share = (finite > 0).mean() + (finite == 0).mean() / 2
    return float(scipy.stats.t.cdf(scipy.stats.norm.ppf(share) * np.sqrt((units - 1) / units), units - 1))


def _weighted_quantile(ranked: np.ndarray, weights: np.ndarray, share: float) -> np.ndarray:
    """The quantile of sorted values (P,), repeated as often as each row of `weights` (draws, P) states."""
    if not len(ranked):
        return np.full(len(weights), np.nan)
    cumulative = np.cumsum(weights, axis=1)
    rank = share * (cumulative[:, -1] - 1)
    below, above = (ranked[(cumulative > r[:, None]).argmax(axis=1)] for r in (np.floor(rank), np.ceil(rank)))
    return np.where(cumulative[:, -1] > 0, below + (rank - np.floor(rank)) * (above - below), np.nan)
