"""How sure a number is: what it would have been on other images like these (Efron, 1979).

Whole units are drawn with replacement: groups (videos, sessions, persons) where there are at least five of them,
else images, because points of one image err together, and images of one video do. With so few units
intervals are too narrow rather than too wide.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEVEL = 0.95
FEWEST_GROUPS = 5
_CELLS = 1 << 23  # numbers held at a time


def find_units(images: Sequence[str], groups: Sequence[str]) -> tuple[np.ndarray, str]:
    """The unit (N,) of each subject as a number from 0 on, and what a unit is: "groups" or "images".

    >>> find_units(["a.png", "a.png", "b.png"], ["v", "v", "v"])
    (array([0, 0, 1]), 'images')
    """
    kind = "groups" if len(set(groups)) >= FEWEST_GROUPS else "images"
    return np.unique(groups if kind == "groups" else images, return_inverse=True)[1], kind


def draw_counts(units: int, draws: int, seed: int) -> np.ndarray:
    """How often each unit is in each resample: float64 (draws, units), every row summing to `units`.

    No resample of a single unit: it says nothing about others.
    """
    if draws < 0:
        raise ValueError(f"draws={draws} must be 0, for no intervals, or more; 2000 are usual")
    rng = np.random.default_rng(seed)
    return rng.multinomial(units, np.full(units, 1 / units), size=draws if units > 1 else 0).astype(float)


def mean_draws(values: np.ndarray, unit: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The mean of all finite `values` (N, K) in each resample (draws,); NaN in one that has none of them.

    >>> mean_draws(np.array([[1.0], [5.0]]), np.array([0, 1]), np.array([[2.0, 0.0], [1.0, 1.0]])).tolist()
    [1.0, 3.0]
    """
    known = np.isfinite(values)
    sums = np.bincount(unit, np.where(known, values, 0).sum(1), counts.shape[1])
    sizes = np.bincount(unit, known.sum(1), counts.shape[1])
    total = counts @ sizes
    return np.divide(counts @ sums, total, out=np.full(len(counts), np.nan), where=total > 0)


def quantile_draws(values: np.ndarray, unit: np.ndarray, counts: np.ndarray, share: float) -> np.ndarray:
    """The `share` quantile of all finite `values` (N, K) in each resample (draws,), as numpy interpolates it."""
    rows, columns = np.nonzero(np.isfinite(values))
    order = np.argsort(values[rows, columns], kind="stable")
    ranked, owner = values[rows, columns][order], unit[rows][order]
    found = [np.empty(0)]
    step = max(1, _CELLS // max(len(ranked), 1))
    for start in range(0, len(counts), step):
        found.append(_weighted_quantile(ranked, counts[start : start + step, owner], share))
    return np.concatenate(found)


def interval(draws: np.ndarray) -> tuple[float, float] | None:
    """Between which values the middle 95 % of the draws lie; None where none of them is a number.

    >>> [round(end, 6) for end in interval(np.arange(1001.0))]
    [25.0, 975.0]
    """
    known = draws[np.isfinite(draws)]
    if not len(known):
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _weighted_quantile(ranked: np.ndarray, weights: np.ndarray, share: float) -> np.ndarray:
    """The quantile of sorted values (P,), each as often as its row of `weights` (draws, P) says."""
    if not len(ranked):
        return np.full(len(weights), np.nan)
    upto = np.cumsum(weights, axis=1)
    place = share * (upto[:, -1] - 1)
    below, above = (_ranked_at(ranked, upto, rank) for rank in (np.floor(place), np.ceil(place)))
    found = below + (place - np.floor(place)) * (above - below)
    return np.where(upto[:, -1] > 0, found, np.nan)


def _ranked_at(ranked: np.ndarray, upto: np.ndarray, rank: np.ndarray) -> np.ndarray:
    return ranked[(upto > rank[:, None]).argmax(axis=1)]
