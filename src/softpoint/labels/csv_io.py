"""CSV files: rows with line numbers, numbers in cells, atomic writes."""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from softpoint.labels.skeleton import MAX_KEYPOINTS
from softpoint.paths import atomic_write

# Line number and cells of a row.
Row = tuple[int, list[str]]

# Separators of cells. Where Excel writes decimal commas, it writes semicolons.
SEPARATORS = (",", ";", "\t")

# Bytes at the beginning of a file by which its format is recognized.
HEAD = 1 << 16

_log = logging.getLogger(__name__)


def read_rows(path: Path, separator: str = ",") -> list[Row]:
    """Return all rows of a CSV that are not blank, cells stripped; ValueError for a file that is no CSV in UTF-8."""
    line = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=separator)
            rows = []
            for cells in reader:
                line = reader.line_num
                rows.append((line, [cell.strip() for cell in cells]))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV in UTF-8 (after line {line}: {error}); save it as CSV UTF-8") from error
    except (IsADirectoryError, PermissionError) as error:
        raise ValueError(f"{path} cannot be read as a file ({error.strerror}); name a CSV file") from error
    return [(line, cells) for line, cells in rows if any(cells)]


def first_rows(head: bytes, separator: str, count: int = 5) -> list[list[str]]:
    """Return the cells of the first rows that are not blank, of a file that begins with `head`; never raise.

    >>> first_rows(b"image;nose_x\\n\\na.png;1,5\\n", ";")
    [['image', 'nose_x'], ['a.png', '1,5']]
    """
    rows: list[list[str]] = []
    try:
        for cells in csv.reader(io.StringIO(head.decode("utf-8-sig", "replace"), newline=""), delimiter=separator):
            rows += [[cell.strip() for cell in cells]] if any(map(str.strip, cells)) else []
            if len(rows) == count:
                break
    except csv.Error:
        pass
    return rows


def sniff(head: bytes, fits: Callable[[list[list[str]]], bool]) -> str | None:
    """Return the separator with which the first rows fit, or None.

    >>> sniff(b"image;nose_x;nose_y", lambda rows: "nose_x" in rows[0])
    ';'
    """
    return next((separator for separator in SEPARATORS if (rows := first_rows(head, separator)) and fits(rows)), None)


def separator_of(path: Path, fits: Callable[[list[list[str]]], bool]) -> str:
    """Return the separator of a file's cells; a comma where nothing fits."""
    if not path.is_file():
        return ","
    with path.open("rb") as file:
        return sniff(file.read(HEAD), fits) or ","


def number(cells: Sequence[str], column: int, separator: str = ",") -> float:
    """Return a finite number, or NaN for an empty cell; ValueError that names the column for anything else.

    >>> number(["a.png", "1.5"], 1), number(["a.png", "1,5"], 1, ";"), number(["a.png", ""], 1)
    (1.5, 1.5, nan)
    """
    cell = cells[column]
    try:
        # Python reads 1_000 as a number; in a table it is a slip.
        value = float((cell.replace(",", ".") if separator == ";" else cell) or "nan") if "_" not in cell else math.inf
    except ValueError:
        value = math.inf
    if math.isinf(value):
        shown = cell if len(cell) <= 40 else f"{cell[:40]}..."
        raise ValueError(f"column {column + 1} {shown!r} is not a finite number; leave it empty for unlabeled")
    return value


def point(cells: Sequence[str], name: str, x: int, y: int, separator: str = ",") -> tuple[float, float]:
    """Return the coordinates of keypoint `name` in columns `x` and `y`; ValueError for half a point."""
    return whole_point(name, number(cells, x, separator), number(cells, y, separator))


def whole_point(name: str, x: float, y: float) -> tuple[float, float]:
    """Return both coordinates, or both NaN; ValueError for half a point."""
    if math.isnan(x) != math.isnan(y):
        raise ValueError(f"{name} has x={x:g} and y={y:g}; give both, or leave both empty for unlabeled")
    return x, y


def bounded(source: str, keypoints: int, individuals: int = 1) -> None:
    """Raise ValueError where a small file would need endless memory."""
    if keypoints > MAX_KEYPOINTS or keypoints * individuals > 32 * MAX_KEYPOINTS:
        raise ValueError(
            f"{source} names {keypoints} keypoints for each of {individuals} individuals; more than {MAX_KEYPOINTS}"
            " are taken for a mistake"
        )


def same_length(cells: Sequence[str], width: int) -> None:
    """Raise ValueError for a row with another number of cells than its header; blank ones at its end do not count."""
    if len(cells) < width or any(cells[width:]):
        raise ValueError(
            f"it has {len(cells)} columns, but its header has {width};"
            " add the missing cells (they may be empty), or quote a path that holds a comma"
        )


def write_rows(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write a CSV atomically."""
    with atomic_write(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def exact(value: float) -> str:
    """Return the shortest text that reads back as the same number; "" for NaN.

    >>> exact(0.1), exact(float("nan"))
    ('0.1', '')
    """
    return "" if math.isnan(value) else repr(float(value))


def warn_lost(path: Path, lost: Mapping[str, int]) -> None:
    """Log one warning with counts of what a file cannot hold; none where nothing is lost."""
    if counts := [f"{count} {name}" for name, count in lost.items() if count]:
        _log.warning("%s: this format cannot hold %s; they are left out", path, ", ".join(counts))
