"""Errors in single rows of a label file, raised together or skipped with a warning."""

from __future__ import annotations

import copy
import logging
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from softpoint.suggest import check_choice

# How many rows a message lists.
_LISTED = 5

_log = logging.getLogger(__name__)
_Cell = TypeVar("_Cell")
_T = TypeVar("_T")


class RefusedLabelsError(ValueError):
    """Labels with errors, of which the message names those of all kinds."""


class NothingLeftError(ValueError):
    """Labels without anything to use, which may be so because of the errors that were named before."""


class RowError(NamedTuple):
    """What is wrong with a row, or with a part of one of which the rest is kept."""

    place: str
    reason: str
    image: str = ""  # that the row is about, where it is known
    part: str = ""  # the keypoint or field that is read as empty; "" where the whole row is left out

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


class Row:
    """The context of one row; a generator's would take most of the time of reading a large file."""

    __slots__ = ("errors", "image", "keeps", "place")

    def __init__(self, errors: list[RowError], place: str, image: str, keeps: bool) -> None:
        self.errors, self.place, self.image, self.keeps = errors, place, image, keeps

    def __enter__(self) -> Row:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if refused := isinstance(error, ValueError | FileNotFoundError):
            self.errors.append(RowError(self.place, str(error), self.image))
        return refused

    def refuse(self, part: str, error: ValueError) -> None:
        """Collect the error of one part, which the caller leaves empty; raise it where no rows are kept."""
        if not self.keeps:
            raise error
        self.errors.append(RowError(self.place, str(error), self.image, part))

    def usable(
        self,
        parse: Callable[[list[_Cell]], _T],
        cells: list[_Cell],
        parts: Callable[[], Mapping[str, Sequence[int]]],
        blank: _Cell,
    ) -> _T:
        """Return what `parse` makes of the cells; where rows are kept, without the parts that it refuses by ValueError.

        `parts` returns the cells of each keypoint and field that may be `blank`.

        >>> row = RowErrors("labels.csv", silent=True).row("line 2")
        >>> row.usable(lambda cells: [*map(int, cells)], ["1", "2o"], lambda: {"nose": [0], "ear": [1]}, "0")
        [1, 0]
        >>> row.errors[0].part, row.errors[0].reason
        ('ear', "invalid literal for int() with base 10: '2o'")
        """
        try:
            return parse(cells)
        except ValueError:
            if not self.keeps or not isinstance(cells, list):
                raise
        empty, kept = [*cells], [*cells]
        owned = {part: [i for i in own if i < len(cells)] for part, own in parts().items()}
        for i in (i for own in owned.values() for i in own):
            empty[i] = blank
        parse(empty)  # raises what is wrong with the rest
        for part, own in owned.items():
            alone = [cell if i in own else empty[i] for i, cell in enumerate(cells)]
            try:
                parse(alone)
            except ValueError as error:
                self.refuse(part, error)
                kept = [blank if i in own else cell for i, cell in enumerate(kept)]
        return parse(kept)


class RowErrors:
    """Errors in the rows of `source`; `raise_or_warn` raises them, or with `on_error` "skip" warns of them.

    With `silent`, for an audit that reports them itself, it only collects them in `skipped`, and a row is kept without
    the points that cannot be read; see `Row.usable`.
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
        self.places: set[str] = set()  # of all rows since the last `raise_or_warn`
        self.errors: list[RowError] = []  # in these
        self.skipped: list[RowError] = []  # all that were skipped so far
        self.gathered: list[str] | None = None  # messages within `together`

    def of(self, source: str) -> RowErrors:
        """Return a collector of the rows of one of several sources, which gathers together with this; see `take`."""
        own = copy.copy(self)
        own.source, own.places, own.errors, own.skipped = source, set(), [], []
        return own

    def take(self, own: RowErrors, name: str, below: str) -> None:
        """Take over the rows that a collector `of` a source skipped, as those of `name` and of images `below` it."""
        for row in own.skipped:
            image = posixpath.normpath(posixpath.join(below, row.image)) if row.image else ""
            self.skipped.append(row._replace(place=f"{name} {row.place}", image=image))

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

    def row(self, place: str, image: str = "") -> Row:
        """Collect a ValueError or FileNotFoundError of the block as an error of the row at `place`, about `image`."""
        self.places.add(place)
        return Row(self.errors, place, image, self.silent)

    def raise_or_warn(self, hint: str = "") -> None:
        """Raise one ValueError for the errors collected since the last call, or log one warning.

        `hint` names the way out; without it, each error may name its own behind its last semicolon.
        """
        errors, rows, self.errors, self.places = self.errors, len(self.places), [], set()
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

    def _message(self, errors: Sequence[RowError], hint: str, advised: bool) -> str:
        """Return the message of errors of one kind; `advised` is whether to leave them out is good advice."""
        lines, it = list(map(str, errors)), "it" if len(errors) == 1 else "them"
        own = {error.reason.rpartition("; ")[2] if "; " in error.reason else f"correct {it}" for error in errors}
        if not hint and len(own) == 1:  # said once for all
            (hint,) = own
            lines = [line.removesuffix(f"; {hint}") for line in lines]
            hint += f": correct {it}" if hint.startswith("it must ") else ""
        way_out = ", or ".join(filter(None, [hint, f"leave {it} out by data.on_error=skip" if advised else ""]))
        if len(errors) == 1:
            return f"{self.source} {lines[0]}; {way_out}"
        return f"{self.source}: {len(errors)} rows cannot be used{first_few(lines)}" + (
            f"\n{way_out}" if way_out else ""
        )


def first_few(lines: Sequence[object]) -> str:
    """Return the first lines, each on its own line, and the number of further ones."""
    more = [f"... and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    return "".join(f"\n  {line}" for line in [*lines[:_LISTED], *more])
