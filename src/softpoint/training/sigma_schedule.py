"""The width of a target over the training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Sigma:
    """Width of a target in input pixels, linear in the progress of the training from `start` to `end`.

    >>> Sigma(8.0, 3.0).at(0.5), Sigma(8.0, 3.0).at(None)
    (5.5, 3.0)
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        for value in (self.start, self.end):
            if not (isinstance(value, int | float) and value > 0):
                raise ValueError(f"sigma must be positive, got {value}")

    @classmethod
    def of(cls, value: float | Mapping[str, float]) -> Sigma:
        """Return the schedule of one number for the whole training, or of {start: 8, end: 3}."""
        if not isinstance(value, Mapping):
            return cls(value, value)
        if set(value) != {"start", "end"}:
            raise ValueError(
                f"sigma must be a number, or have start and end, as in {{start: 8, end: 3}}; got {dict(value)}"
            )
        return cls(value["start"], value["end"])

    def at(self, progress: float | None) -> float:
        """Return the width at the fraction `progress` of the training; None is its end."""
        return self.end if progress is None else self.start + (self.end - self.start) * progress
