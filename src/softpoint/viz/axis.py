"""One axis of a chart: where values stand on it, and which of them are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high`, linear or logarithmic, with `names` at 0, 1, 2, ... instead of numbers."""

    low: float
    high: float
    log: bool = False
    names: tuple[str, ...] = ()

    def place(self, values: np.ndarray) -> np.ndarray:
        """Where values stand, 0 at `low` and 1 at `high`; NaN where a logarithm has no place for them.

        >>> Axis(1, 100, log=True).place(np.array([1.0, 10.0, 100.0])).tolist()
        [0.0, 0.5, 1.0]
        """
        low, high = self._scaled(np.array([self.low, self.high]))
        return (self._scaled(np.asarray(values, float)) - low) / (high - low)

    def ticks(self, most: int = 7) -> list[tuple[float, str]]:
        """Round values within the axis and what is written at them: `most` at most, where numbers are.

        >>> Axis(0, 1).ticks()
        [(0.0, '0'), (0.2, '0.2'), (0.4, '0.4'), (0.6, '0.6'), (0.8, '0.8'), (1.0, '1')]
        >>> [text for _, text in Axis(0.5, 200, log=True).ticks()]
        ['0.5', '1', '5', '10', '50', '100']
        """
        if self.names:
            return [(float(i), name) for i, name in enumerate(self.names)]
        values = _log_ticks(self.low, self.high, most) if self.log else _linear_ticks(self.low, self.high, most)
        return [(value, f"{value:.6g}") for value in values]

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        return np.log10(np.where(values > 0, values, np.nan)) if self.log else values


def fit_axis(
    values: Iterable[np.ndarray],
    *,
    log: bool = False,
    limits: tuple[float, float] | None = None,
    names: Sequence[str] = (),
    room: float = 0.05,
) -> Axis:
    """The axis on which all `values` are seen, `room` of its length free at either end; `limits` fix it instead.

    A linear axis begins at 0 where the values do, or begin near it.
    """
    if names:
        return Axis(-0.5, len(names) - 0.5, names=tuple(names))
    if limits is not None:
        return Axis(*_apart(float(limits[0]), float(limits[1]), log), log)
    known = np.concatenate([np.ravel(np.asarray(v, float)) for v in values] or [np.empty(0)])
    known = known[np.isfinite(known) & ((known > 0) | (not log))]
    if not len(known):
        return Axis(0.1, 1.0, log) if log else Axis(0.0, 1.0)
    low, high = _apart(float(known.min()), float(known.max()), log)
    if log:
        factor = (high / low) ** room
        return Axis(low / factor, high * factor, True)
    start = 0.0 if 0 <= low < 0.3 * high else low - room * (high - low)
    return Axis(start, high + room * (high - start))


def _apart(low: float, high: float, log: bool) -> tuple[float, float]:
    """The same limits, or some about them where they are one value."""
    if high > low:
        return low, high
    return (low / 2, low * 2) if log else (low - max(abs(low), 1.0) / 2, low + max(abs(low), 1.0) / 2)


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(s * power for s in (*_STEPS, 20, 50) if (high - low) / (s * power) < most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.10g}") for i in range(first, last + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    """Powers of ten, with what divides them best where there is room; on a short axis, what a linear one would have."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 3, 5, 7), (1, 2, 5), (1, 5), (1,)):
        values = [float(f"{d}e{power}") for power in powers for d in digits]
        inside = [v for v in values if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]
        if len(inside) <= most:
            break
    if len(inside) < 3:
        return _linear_ticks(low, high, most)
    return inside[:: -(-len(inside) // most)] if len(inside) > most else inside
