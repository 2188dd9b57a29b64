"""Errors in single rows of a label file, raised together or skipped with a warning."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from softpoint.suggest import check_choice

# How many rows a message lists.
_LISTED = 5

_log = logging.getLogger(__name__)


class RefusedLabelsError(ValueError):
    """Labels with errors, of which the message names those of all kinds."""


class NothingLeftError(ValueError):
    """Labels without anything to use, which may be so because of the errors that were named before."""


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
        self.gathered: list[str] | None = None  # messages within `together`

    def of(self, source: str) -> RowErrors:
        """Return the collector of the rows of one of several sources, which gathers and skips together with this."""
        own = copy.copy(self)
        own.source, own.rows, own.errors = source, 0, []
        return own

    @contextmanager
    def together(self) -> Iterator[None]:
        """Go on after errors as with "skip", and raise all at the end of the block, with the error that ended it."""
        gathered: list[str] = []
        self.gathered = gathered
        try:
            yield
        except (ValueError, FileNotFoundError) as error:
            if not gathered:
                raise
            last = [] if isinstance(error, NothingLeftError) else [str(error)]
            raise RefusedLabelsError("\n".join([*gathered, *last])) from error
        finally:
            self.gathered = None
        if gathered:
            raise RefusedLabelsError("\n".join(gathered))

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
        elif self.gathered is None:
            raise ValueError(self._message(errors, hint, advised))
        else:
            self.gathered.append(self._message(errors, hint, advised))

    def _message(self, errors: Sequence[str], hint: str, advised: bool) -> str:
        """Return the message of errors of one kind; `advised` is whether to leave them out is good advice."""
        if len(errors) == 1:
            skip = ", or leave it out by data.on_error=skip" if advised else ""
            return f"{self.source} {errors[0]}{f'; {hint}' if hint else ''}{skip}"
        skip = ", or leave them out by data.on_error=skip" if advised else ""
        return f"{self.source}: {len(errors)} rows cannot be used{first_few(errors)}\n{hint or 'correct them'}{skip}"


def first_few(lines: Sequence[str]) -> str:
    """Return the first lines, each on its own line, and the number of further ones."""
    more = [f"... and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    return "".join(f"\n  {line}" for line in [*lines[:_LISTED], *more])
