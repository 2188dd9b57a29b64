"""What is wrong with single rows of a label file: one error that lists them all, or a skip that does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from softpoint.suggest import did_you_mean

# How many offending rows a message shows.
_SHOWN = 5

_log = logging.getLogger(__name__)


class Problems:
    """Collects what is wrong with the rows of `source`; `settle` raises it, or with `skip` warns of it.

    >>> problems = Problems("labels.csv", skip=False)
    >>> for line, cell in enumerate(["1", "two"], 2):
    ...     with problems.row(f"line {line}"):
    ...         if not cell.isdigit():
    ...             raise ValueError(f"{cell!r} is not a number")
    >>> problems.settle("correct it")
    Traceback (most recent call last):
    ValueError: labels.csv line 3: 'two' is not a number; correct it, or leave it out by data.on_error=skip
    """

    def __init__(self, source: str, skip: bool, key: str = "data.on_error") -> None:
        self.source, self.skip, self.key = source, skip, key
        self.found: list[str] = []
        self.skipped: list[str] = []  # over the whole life

    @classmethod
    def by(cls, on_error: str, source: str, key: str = "data.on_error") -> Problems:
        """As the setting `key` says: "error" or "skip"."""
        if on_error not in ("error", "skip"):
            raise ValueError(f"{key}={on_error!r}: {did_you_mean(on_error, ('error', 'skip'))}")
        return cls(source, on_error == "skip", key)

    @contextmanager
    def row(self, place: str) -> Iterator[None]:
        """Within it a ValueError or FileNotFoundError is noted as a problem of the row at `place`."""
        try:
            yield
        except (ValueError, FileNotFoundError) as error:
            self.found.append(f"{place}: {error}")

    def settle(self, way_out: str = "correct it") -> None:
        """One ValueError, or one warning, for what was found since it was last called.

        `way_out` is "" where what was found says its own.
        """
        found, self.found = self.found, []
        if not found:
            return
        if self.skip:
            self.skipped += found
            _log.warning("%s: left out %d that cannot be used%s", self.source, len(found), first_few(found))
        elif len(found) == 1:
            said = "; ".join(filter(None, (found[0], way_out)))
            raise ValueError(f"{self.source} {said}, or leave it out by {self.key}=skip")
        else:
            raise ValueError(
                f"{self.source}: {len(found)} rows cannot be used{first_few(found)}\n"
                f"{way_out or 'correct them'}, or leave them out by {self.key}=skip"
            )


def first_few(lines: list[str]) -> str:
    """The first lines, each on its own, and how many more there are."""
    more = [f"... and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "".join(f"\n  {line}" for line in [*lines[:_SHOWN], *more])
