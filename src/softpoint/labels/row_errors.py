"""Errors in single rows of a label file, raised together or skipped with a warning."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from softpoint.suggest import check_choice

# How many rows a message lists.
_LISTED = 5

_log = logging.getLogger(__name__)


class _Row(NamedTuple):
    """The context of one row; a generator's would take most of the time of reading a large file."""

    errors: list[str]
    place: str

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if refused := isinstance(error, ValueError | FileNotFoundError):
            self.errors.append(f"{self.place}: {error}")
        return refused


class RowErrors:
    """Errors in the rows of `source`; `raise_or_warn` raises them, or with `on_error` "skip" warns of them.

    With `silent`, for an audit that reports them itself, it only collects them in `skipped`.
    Raises ValueError for another `on_error`.

    >>> errors = RowErrors("labels.csv")
    >>> for line, cell in enumerate(["1", "two"], 2):
    ...     with errors.row(f"line {line}"):
    ...         if not cell.isdigit():
    ...             raise ValueError(f"{cell!r} is not a number")
    >>> errors.raise_or_warn("correct it")
    Traceback (most recent call last):
    ValueError: labels.csv line 3: 'two' is not a number; correct it, or leave it out by data.on_error=skip
    """

    def __init__(self, source: str, on_error: str = "error", silent: bool = False) -> None:
        check_choice("data.on_error", on_error, ("error", "skip"))
        self.source, self.on_error, self.silent = source, on_error, silent
        self.rows = 0  # number of all rows since the last `raise_or_warn`
        self.errors: list[str] = []  # in these
        self.skipped: list[str] = []  # all that were skipped so far

    def row(self, place: str) -> _Row:
        """Collect a ValueError or FileNotFoundError of the block as an error of the row at `place`."""
        self.rows += 1
        return _Row(self.errors, place)

    def raise_or_warn(self, hint: str = "correct it") -> None:
        """Raise one ValueError for the errors collected since the last call, or log one warning.

        `hint` names the way out; it is "" where each error names its own.
        """
        errors, rows, self.errors, self.rows = self.errors, self.rows, [], 0
        advised = 2 * len(errors) <= rows  # not where it would leave out most rows
        if not errors:
            return
        if self.silent or self.on_error == "skip":
            self.skipped += errors
            if not self.silent:
                _log.warning("%s: left out %d that cannot be used%s", self.source, len(errors), first_few(errors))
        elif len(errors) == 1:
            message = f"{errors[0]}; {hint}" if hint else errors[0]
            skip = ", or leave it out by data.on_error=skip" if advised else ""
            raise ValueError(f"{self.source} {message}{skip}")
        else:
            skip = ", or leave them out by data.on_error=skip" if advised else ""
            raise ValueError(
                f"{self.source}: {len(errors)} rows cannot be used{first_few(errors)}\n{hint or 'correct them'}{skip}"
            )


def first_few(lines: Sequence[str]) -> str:
    """Return the first lines, each on its own line, and the number of further ones."""
    more = [f"... and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    return "".join(f"\n  {line}" for line in [*lines[:_LISTED], *more])
