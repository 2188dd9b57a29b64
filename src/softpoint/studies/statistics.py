"""Means over repetitions with confidence intervals, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A value and the ends of its interval, which are None where it cannot be estimated."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def excludes_zero(self) -> bool | None:
        """Whether 0 is outside the interval; None without one."""
        return None if self.low is None or self.high is None else not self.low <= 0 <= self.high

    def to_dict(self) -> dict[str, float | None]:
        """Return the entry of a JSON file."""
        return {"value": self.value, "low": self.low, "high": self.high}

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Interval:
        """Return the interval of an entry of a JSON file, which may lack the ends."""
        return cls(entry["value"], entry.get("low"), entry.get("high"))

    def text(self, format_spec: str = ".2f") -> str:
        """Return the value with the ends of its interval, for a table.

        >>> Interval(-1.0, -1.5, 0.25).text("+.2f")
        '-1.00 (-1.50 to +0.25)'
        """
        ends = "" if self.low is None else f" ({self.low:{format_spec}} to {self.high:{format_spec}})"
        return f"{self.value:{format_spec}}{ends}"


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Return the mean with its interval by Student's t; without ends for a single value. ValueError for none.

    >>> mean_interval([1.0, 2.0, 3.0]).low
    -0.4841...
    >>> mean_interval([2.0])
    Interval(value=2.0, low=None, high=None)
    """
    if not values:
        raise ValueError("no values to take the mean of")
    mean = float(np.mean(values))
    if len(values) == 1:
        return Interval(mean)
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values))
    return Interval(mean, mean - half, mean + half)


def over_seeds(entries: Sequence[Mapping[str, Any]]) -> Interval:
    """Return the mean of a metric over seeds, each an entry of metrics.json; of one seed, its own interval.

    >>> over_seeds([{"value": 2.0, "low": 1.5, "high": 3.0}])
    Interval(value=2.0, low=1.5, high=3.0)
    """
    return mean_interval([entry["value"] for entry in entries]) if len(entries) > 1 else Interval.of(entries[0])


def paired_difference(first: Mapping[int, float], other: Mapping[int, float], level: float = 0.95) -> Interval | None:
    """Return `other` minus `first`, paired by the seeds that both have; None where they share none.

    >>> paired_difference({0: 5.0, 1: 7.0, 2: 9.0}, {0: 4.0, 1: 6.0, 2: 8.0})
    Interval(value=-1.0, low=-1.0, high=-1.0)
    """
    shared = sorted(first.keys() & other.keys())
    return mean_interval([other[seed] - first[seed] for seed in shared], level) if shared else None
