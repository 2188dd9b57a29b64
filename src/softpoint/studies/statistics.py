"""What a few repetitions say: means, their intervals, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A value and the ends of its interval, which are None where nothing tells them."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def excludes_zero(self) -> bool | None:
        """Whether 0 lies outside; None without ends."""
        return None if self.low is None or self.high is None else not self.low <= 0 <= self.high

    def to_dict(self) -> dict[str, float | None]:
        """As it stands in files."""
        return {"value": self.value, "low": self.low, "high": self.high}

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Interval:
        """From a file, where one without ends may lack them."""
        return cls(entry["value"], entry.get("low"), entry.get("high"))


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """The mean and its interval by Student's t; without ends for a single value. ValueError for none.

    >>> mean_interval([1.0, 2.0, 3.0]).low
    -0.4841...
    >>> mean_interval([2.0])
    Interval(value=2.0, low=None, high=None)
    """
    count = len(values)
    if not count:
        raise ValueError("no values to take the mean of")
    mean = float(np.mean(values))
    if count == 1:
        return Interval(mean)
    half = float(stats.t.ppf((1 + level) / 2, count - 1) * stats.sem(values))
    return Interval(mean, mean - half, mean + half)


def over_seeds(entries: Sequence[Mapping[str, Any]]) -> Interval:
    """The mean of a metric over its seeds, an entry of metrics.json each; of one seed, that with its own interval.

    >>> over_seeds([{"value": 2.0, "low": 1.5, "high": 3.0}])
    Interval(value=2.0, low=1.5, high=3.0)
    """
    return mean_interval([entry["value"] for entry in entries]) if len(entries) > 1 else Interval.of(entries[0])


def paired_difference(first: Mapping[int, float], other: Mapping[int, float], level: float = 0.95) -> Interval | None:
    """`other` minus `first`, by the seeds that both have; None where they have none in common.

    >>> paired_difference({0: 5.0, 1: 7.0, 2: 9.0}, {0: 4.0, 1: 6.0, 2: 8.0})
    Interval(value=-1.0, low=-1.0, high=-1.0)
    """
    shared = sorted(first.keys() & other.keys())
    return mean_interval([other[seed] - first[seed] for seed in shared], level) if shared else None
