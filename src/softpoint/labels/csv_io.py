"""CSV files: rows with line numbers, exact numbers, atomic writes."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from softpoint.paths import atomic_write

# Line number and cells of a row.
Row = tuple[int, list[str]]


def read_rows(path: Path, separator: str = ",") -> list[Row]:
    """Return all rows of a CSV that are not blank, cells stripped; ValueError for a file that is no CSV in UTF-8."""
    line = 0
    rows: list[Row] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=separator)
            for cells in reader:
                line = reader.line_num
                if any(cells := [*map(str.strip, cells)]):
                    rows.append((line, cells))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV in UTF-8 (after line {line}: {error}); save it as CSV UTF-8") from error
    except (IsADirectoryError, PermissionError) as error:
        raise ValueError(f"{path} cannot be read as a file ({error.strerror}); name a CSV file") from error
    return rows


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
