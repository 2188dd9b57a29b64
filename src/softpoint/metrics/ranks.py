"""Ranks of values: those of scipy.stats, whose import takes a second of a training's first validation, but for NaN."""

from __future__ import annotations

import numpy as np


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """The rank of each value (N,) from 1 up, equal values sharing the mean of theirs; NaN for NaN.

    >>> mean_ranks(np.array([7.0, 3.0, 7.0, 9.0])).tolist()
    [2.5, 1.0, 2.5, 4.0]
    """
    smaller = np.searchsorted(np.sort(values), values, "left")
    return np.where(np.isnan(values), np.nan, (smaller + highest_ranks(values) + 1) / 2)


def highest_ranks(values: np.ndarray) -> np.ndarray:
    """How many of the values (N,) are at most each of them: its rank, equal values having the highest of theirs.

    NaN must not be among them.

    >>> highest_ranks(np.array([7.0, 3.0, 7.0, 9.0])).tolist()
    [3, 1, 3, 4]
    """
    return np.searchsorted(np.sort(values), values, "right")
