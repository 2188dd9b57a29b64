"""The CSV of DeepLabCut and lightning-pose: three or four header rows, then one row per image."""

from __future__ import annotations

import logging
import math
import re
from pathlib import Path

import numpy as np

from softpoint.labels.csv_io import Row, exact, write_rows
from softpoint.labels.formats.parsing import dlc_table
from softpoint.labels.formats.parsing.rows import check_length, parse_cells, parse_score, read_table, sniff, warn_lost
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import OCCLUDED, Labels, Subject
from softpoint.paths import normalize_path

DESCRIPTION = "a CSV whose first rows begin with scorer, bodyparts, coords, or scorer, individuals, bodyparts, coords"

_log = logging.getLogger(__name__)

_SINGLE = ("scorer", "bodyparts", "coords")
_SEVERAL = ("scorer", "individuals", "bodyparts", "coords")


def recognize(path: Path, head: bytes) -> bool:
    """Return whether the header begins with scorer, or has a row of x and y.

    >>> recognize(Path(), b"scorer,anna,anna"), recognize(Path(), b"image,x,y")
    (True, False)
    """
    return sniff(head, _fits) is not None


def read(path: Path, errors: RowErrors, images: Path | None = None, prefix: str = "") -> Labels:
    """Return the labels, with columns of likelihood as confidences. Raises ValueError for an unknown header.

    `prefix` precedes the line number in every place.
    """
    separator, rows = read_table(path, _fits)
    levels = _levels(path, rows)
    # pandas writes Unnamed: 5_level_0 over a column without a name.
    titles = ([re.sub(r"\AUnnamed: \d.*", "", cell) for cell in cells] for _, cells in rows)
    header = dict(zip(levels, titles, strict=False))
    # An image's path may take three columns (labeled-data, video, image), below empty cells of the header.
    pairs = list(zip(header["bodyparts"], header["coords"], strict=True))
    width = next((i for i, pair in enumerate(pairs) if i and any(pair)), len(pairs))
    rows = rows[len(levels) :]
    columns = _columns(path, header, width, rows)
    # pandas may name the columns of the path in a row of its own, such as `img,,,`.
    if rows and not any(rows[0][1][width:]) and not re.search(r"[\d./\\]", "".join(rows[0][1][:width])):
        rows = rows[1:]
    if not rows:
        raise ValueError(f"{path} has a header but no image below it; check that the file is complete")
    columns.sort(key=lambda column: column.coord == "likelihood")
    used = [column.number - 1 for column in columns if column.coord != "likelihood"]
    scored = [column.number - 1 for column in columns[len(used) :]]
    parts: dict[str, list[int]] = {}
    for column in columns[: len(used)]:
        parts.setdefault(column.keypoint, []).append(column.number - 1)
    table: list[dlc_table.Row] = []
    for line, cells in rows:
        place = f"{prefix}line {line}"
        values: list[float] | ValueError
        try:
            check_length(cells, len(pairs))
            row = errors.row(place, dlc_table.image_of(cells[:width]))
            values = row.usable(lambda texts: parse_cells(texts, used, separator), cells, lambda: parts, "")
            values = values + [parse_score(cells[i], separator) for i in scored]
        except ValueError as error:
            values = error
        table.append((place, cells[:width], values))
    return dlc_table.labels_of(path, columns, table, errors)


def _fits(rows: list[list[str]]) -> bool:
    return (rows[0][0].lower() == "scorer" and len(rows[0]) > 1) or _depth(rows) is not None


def _depth(rows: list[list[str]]) -> int | None:
    """Return the number of header rows; the last one has only x, y and likelihood after its first cell."""
    for depth in (len(_SINGLE), len(_SEVERAL)):
        coords = {cell.lower() for cell in rows[depth - 1][1:] if cell} if len(rows) >= depth else set()
        if {"x", "y"} <= coords <= set(dlc_table.COORDS):
            return depth
    return None


def _levels(path: Path, rows: list[Row]) -> tuple[str, ...]:
    """Return the kind of each header row, by its first cell, or by its position if the first cells are no kinds."""
    first = tuple(cells[0].lower() for _, cells in rows[: len(_SEVERAL)])
    levels = next((first[: len(kinds)] for kinds in (_SINGLE, _SEVERAL) if set(first[: len(kinds)]) == set(kinds)), ())
    if not levels:
        depth = _depth([cells for _, cells in rows[: len(_SEVERAL)]])
        levels = _SINGLE if depth == len(_SINGLE) else _SEVERAL
        misplaced = any(cell in _SEVERAL and cell != level for cell, level in zip(first, levels, strict=False))
        if depth is None or misplaced:
            raise ValueError(
                f"{path}: its first rows begin with {', '.join(first[:3])}; they must begin with {', '.join(_SINGLE)}"
            )
    lengths = [len(cells) for _, cells in rows[: len(levels)]]
    if len(set(lengths)) > 1:
        raise ValueError(
            f"{path}: its {len(levels)} header rows have {', '.join(map(str, lengths))} columns; give them the same"
            " number"
        )
    return levels


def _columns(path: Path, header: dict[str, list[str]], width: int, rows: list[Row]) -> list[dlc_table.Column]:
    """Return the columns of coordinates after the path; one without a complete header is skipped if it is empty."""
    columns = []
    for i in range(width, len(header["coords"])):
        titles = {level: cells[i] for level, cells in header.items() if level != "scorer"}
        coord = titles["coords"].lower()
        if all(titles.values()) and coord in dlc_table.COORDS:
            columns.append(dlc_table.Column(i + 1, titles.get("individuals", ""), titles["bodyparts"], coord))
        elif any(cells[i] for _, cells in rows if i < len(cells)):
            raise ValueError(
                f"{path} column {i + 1}: its header has {', '.join(f'{level} {titles[level]!r}' for level in titles)};"
                f" a column with values needs {' and '.join(titles)}, the last being x, y or likelihood;"
                " complete its header, or remove it"
            )
    if any(column.coord == "likelihood" for column in columns):
        _log.info("%s: columns of likelihood are not used as labels", path)
    return columns


def write(labels: Labels, path: Path, sizes: np.ndarray, scorer: str = "softpoint") -> None:
    """Write three header rows, or four if subjects have names or share an image; coordinates are exact."""
    images: dict[str, list[Subject]] = {}
    paths: dict[str, str] = {}
    for subject in labels.subjects:
        key = normalize_path(subject.image)
        images.setdefault(key, []).extend([subject] if subject.visibility.any() else [])
        paths.setdefault(key, subject.image)
    several = any(len(members) > 1 or any(s.name for s in members) for members in images.values())
    named = {
        key: _unique_names(members) if several else dict(zip([""], members, strict=False))
        for key, members in images.items()
    }
    individuals = sorted({name for members in named.values() for name in members}) if several else [""]
    columns = [(individual, part) for individual in individuals for part in labels.skeleton.names for _ in "xy"]
    rows = [["scorer", *(scorer for _ in columns)]]
    rows += [["individuals", *(individual for individual, _ in columns)]] if several else []
    rows += [["bodyparts", *(part for _, part in columns)], ["coords", *("xy" * (len(columns) // 2))]]
    empty = [""] * (2 * len(labels.skeleton))
    for key, members in named.items():
        cells = [paths[key]]
        for name in individuals:
            cells += map(exact, members[name].keypoints.flatten()) if name in members else empty
        rows.append(cells)
    write_rows(path, rows)
    _warn_of_losses(path, labels, several)


def _unique_names(subjects: list[Subject]) -> dict[str, Subject]:
    """Return the subjects of an image by unique names."""
    result: dict[str, Subject] = {}
    taken = {subject.name for subject in subjects}
    for subject in subjects:
        name = subject.name
        if not name or name in result:
            numbered = (f"individual{i}" for i in range(1, len(subjects) + 2))
            name = next(new for new in numbered if new not in taken | set(result))
        result[name] = subject
    return result


def _warn_of_losses(path: Path, labels: Labels, several: bool) -> None:
    subjects = labels.subjects
    unnamed = sum(not s.name and bool(s.visibility.any()) for s in subjects)
    counts = {
        "flags of occluded points": int((labels.visibility == OCCLUDED).sum()),
        "boxes": sum(s.box is not None for s in subjects),
        "categories": sum(bool(s.category) for s in subjects),
        "groups": sum(s.group is not None for s in subjects),
        "areas": sum(not math.isnan(s.area) for s in subjects),
        "crowds": sum(s.crowd for s in subjects),
        "subjects without a point": sum(bool(s.name or s.box) and not s.visibility.any() for s in subjects),
        "subjects without a name (they become individual1, ...)": unnamed if several else 0,
        "sizes of images": sum(any(s.size) for s in subjects),
    }
    warn_lost(path, labels, counts)
