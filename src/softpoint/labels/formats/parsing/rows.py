"""Rows, cells and points of label files, for readers of any format."""

from __future__ import annotations

import csv
import io
import logging
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from softpoint.labels.csv_io import Row, read_rows
from softpoint.labels.missing import WORDS
from softpoint.labels.row_errors import NothingLeftError, RowErrors
from softpoint.labels.schema import UNLABELED, VISIBLE, Labels
from softpoint.labels.skeleton import MAX_KEYPOINTS, infer_flip_pairs

# Separators of cells. Where Excel writes decimal commas, it writes semicolons.
_SEPARATORS = (",", ";", "\t")

_log = logging.getLogger(__name__)


def read_head(path: Path) -> bytes:
    """Return the first 64 KiB of a file, by which formats are recognized."""
    with path.open("rb") as file:
        return file.read(1 << 16)


def usual_count(counts: Iterable[int], errors: RowErrors, missing: str) -> int:
    """Return the most frequent number of points; without any, raise what `errors` has or ValueError(`missing`)."""
    found = Counter(counts).most_common(1)
    if not found:
        errors.raise_or_warn()
        raise NothingLeftError(missing)
    return found[0][0]


def check_count(count: int, usual: int, points: str = "points") -> None:
    """Raise ValueError for a subject that has not as many points as most have."""
    if count != usual:
        raise ValueError(f"it has {count} {points}, but most have {usual}; leave it out")


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Return number and text, stripped, of each line that is not blank; raise ValueError for a file not in UTF-8."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as UTF-8 text ({error}); save it as UTF-8") from error
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def sniff(head: bytes, fits: Callable[[list[list[str]]], bool]) -> str | None:
    """Return the separator with which the first five rows that are not blank fit, or None; never raise.

    >>> sniff(b"image;nose_x;nose_y", lambda rows: "nose_x" in rows[0])
    ';'
    """
    text = head.decode("utf-8-sig", "replace")
    for separator in _SEPARATORS:
        rows: list[list[str]] = []
        try:
            for cells in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
                rows += [[cell.strip() for cell in cells]] if any(map(str.strip, cells)) else []
                if len(rows) == 5:
                    break
        except csv.Error:  # of a later row than those that were read
            pass
        if rows and fits(rows):
            return separator
    return None


def read_table(path: Path, fits: Callable[[list[list[str]]], bool]) -> tuple[str, list[Row]]:
    """Return the separator with which the first rows fit, a comma where none does, and the rows of a CSV."""
    separator = sniff(read_head(path) if path.is_file() else b"", fits) or ","
    return separator, read_rows(path, separator)


def parse_float(text: str) -> float:
    """Return the number in a text, NaN and infinity included; ValueError for anything else, also for `1_000`.

    >>> parse_float("1.5e1")
    15.0
    """
    try:
        if "_" not in text:  # Python reads 1_000 as a number; in a table it is a typing error
            return float(text)
    except ValueError:
        pass
    raise ValueError(f"{text[:60]!r} is not a number")


def half_point(name: str, x: float, y: float) -> ValueError:
    """Return the error about a point of which a coordinate is NaN or infinite."""
    texts = (f"no {axis}" if math.isnan(value) else f"{axis}={value:g}" for axis, value in (("x", x), ("y", y)))
    return ValueError(f"{name} has {' and '.join(texts)}; give both, or leave both empty for unlabeled")


def parse_score(cell: str, separator: str = ",") -> float:
    """Return the confidence in a cell, NaN for anything but a number: labels are read whatever is beside them.

    >>> parse_score("0.5"), parse_score("high")
    (0.5, nan)
    """
    try:
        return parse_float(cell.replace(",", ".") if separator == ";" else cell)
    except ValueError:
        return math.nan


def parse_cell(cells: Sequence[str], column: int, separator: str = ",") -> float:
    """Return a finite number, or NaN for a missing one; ValueError that names the column for anything else.

    >>> parse_cell(["a.png", "1.5"], 1), parse_cell(["a.png", "1,5"], 1, ";"), parse_cell(["a.png", ""], 1)
    (1.5, 1.5, nan)
    """
    cell = cells[column]
    if cell.lower() in WORDS:
        return math.nan
    try:
        value = parse_float(cell.replace(",", ".") if separator == ";" else cell)
    except ValueError:
        value = math.inf
    if math.isinf(value):
        shown = cell if len(cell) <= 40 else f"{cell[:40]}..."
        raise ValueError(f"column {column + 1} {shown!r} is not a finite number; leave it empty for unlabeled")
    return value


def parse_cells(cells: Sequence[str], columns: Sequence[int], separator: str = ",") -> list[float]:
    """Return `parse_cell` of each column, at once where all are plain numbers."""
    texts = [cells[column] for column in columns]
    with suppress(ValueError):
        values = [float(text) if text else math.nan for text in texts]
        if math.inf not in values and -math.inf not in values and "_" not in "".join(texts):
            return values
    return [parse_cell(cells, column, separator) for column in columns]


def check_size(source: str, keypoints: int, individuals: int = 1) -> None:
    """Raise ValueError where a small file would need endless memory."""
    if keypoints > MAX_KEYPOINTS or keypoints * individuals > 32 * MAX_KEYPOINTS:
        raise ValueError(
            f"{source} names {keypoints} keypoints for each of {individuals} individuals; more than {MAX_KEYPOINTS}"
            " are taken for a mistake"
        )


def check_length(cells: Sequence[str], width: int) -> None:
    """Raise ValueError for a row with another number of cells than its header; blank ones at its end do not count."""
    if len(cells) < width or any(cells[width:]):
        raise ValueError(
            f"it has {len(cells)} columns, but its header has {width};"
            " add the missing cells (they may be empty), or quote a path that holds a comma"
        )


def unlabeled_points(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return keypoints (K, 2) and visibility (K,) of a subject without labeled points.

    >>> unlabeled_points(1)
    (array([[nan, nan]]), array([0]))
    """
    return np.full((count, 2), np.nan), np.full(count, UNLABELED, np.int64)


def visibility_of(keypoints: np.ndarray) -> np.ndarray:
    """Return int64 (K,) for keypoints (K, 2): visible where they have coordinates, unlabeled where they are NaN.

    >>> visibility_of(np.array([[1.0, 2.0], [np.nan, np.nan]]))
    array([2, 0])
    """
    return np.where(np.isnan(keypoints).any(axis=1), UNLABELED, VISIBLE).astype(np.int64)


class UniqueRows:
    """Check that no two rows label the same: which of them is right cannot be decided.

    >>> rows = UniqueRows()
    >>> rows.add("v/a.png", "line 4", "v/a.png"); rows.add("v/a.png", "line 9", "./v/a.png")
    Traceback (most recent call last):
    ValueError: ./v/a.png is labeled in line 4 too; remove one of the two
    """

    def __init__(self) -> None:
        self._places: dict[Hashable, str] = {}

    def add(self, key: Hashable, place: str, label: str) -> None:
        """Add the row at `place`; raise a ValueError that quotes `label` if an earlier row has its key."""
        if (earlier := self._places.setdefault(key, place)) != place:
            raise ValueError(f"{label} is labeled in {earlier} too; remove one of the two")


def warn_lost(path: Path, labels: Labels, lost: Mapping[str, int]) -> None:
    """Log one warning with counts of what a CSV cannot hold; none where nothing is lost."""
    skeleton = labels.skeleton
    pairs = set(skeleton.flip_pairs) ^ set(infer_flip_pairs(skeleton.names))
    lost = {**lost, "edges": len(skeleton.edges), "flip pairs that names do not show": len(pairs)}
    if counts := [f"{count} {name}" for name, count in lost.items() if count]:
        _log.warning("%s: this format cannot hold %s; they are left out", path, ", ".join(counts))
