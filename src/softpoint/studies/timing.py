"""Times of work that is done in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

Work = Callable[[int], Any]


def rates_in_turns(work: Mapping[str, Work], rounds: int, calls: int) -> dict[str, list[float]]:
    """Return calls per second of each in `rounds`, one after the other so that a slow spell meets them all."""
    rates: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, call in work.items():
            start = time.perf_counter()
            for i in range(calls):
                call(turn * calls + i)
            if turn:  # the first round warms up
                rates[name].append(calls / (time.perf_counter() - start))
    return rates


def relative_times(work: Mapping[str, Work], rounds: int, calls: int) -> dict[str, float]:
    """Return the median time of each as a multiple of that of the first, compared within each round."""
    rates = rates_in_turns(work, rounds, calls)
    first = next(iter(rates.values()))
    return {name: median(one / rate for one, rate in zip(first, values, strict=True)) for name, values in rates.items()}
