"""The CSV of DeepLabCut and lightning-pose: three header rows, then one row an image."""

from __future__ import annotations

import csv
import logging
import math
from pathlib import Path, PurePosixPath

import numpy as np

from softpoint.data.labels import Labels
from softpoint.data.skeleton import Skeleton, infer_flip_pairs

LOOKS = "a CSV whose first three rows begin with scorer, bodyparts, coords"

_log = logging.getLogger(__name__)

# A row as it stands in the file: its line number and its cells.
Row = tuple[int, list[str]]


def recognise(head: bytes) -> bool:
    """Whether a file that begins like this is one: its first cell says scorer.

    >>> recognise(b"scorer,anna,anna"), recognise(b"x,y")
    (True, False)
    """
    first = head.removeprefix(b"\xef\xbb\xbf").lstrip().split(b",", 1)[0]
    return first.strip(b' "\t\r\n').lower() == b"scorer"


def read(path: Path) -> Labels:
    """The labels; a `likelihood` column is passed over. ValueError names file, line and column."""
    rows = _rows(path)
    header = _header(path, rows)
    width, columns = _columns(path, header)
    names = list(columns)
    images, keypoints, lines = [], np.full((len(rows) - 3, len(names), 2), np.nan), []
    for index, (line, cells) in enumerate(rows[3:]):
        if len(cells) != len(header[2]):
            raise ValueError(
                f"{path} line {line} has {len(cells)} columns, but its header has {len(header[2])};"
                " add the missing cells (they may be empty), or quote a path that holds a comma"
            )
        images.append(_image(path, line, cells[:width]))
        lines.append(line)
        for point, name in enumerate(names):
            keypoints[index, point] = _point(path, line, cells, name, columns[name])
    return Labels(
        source=str(path),
        images=tuple(images),
        keypoints=keypoints,
        visibility=np.where(np.isnan(keypoints[..., 0]), 0, 2).astype(np.int64),
        skeleton=Skeleton(tuple(names), infer_flip_pairs(names)),
        groups=tuple(str(PurePosixPath(image).parent) for image in images),
        rows=tuple(lines),
    )


def _rows(path: Path) -> list[Row]:
    """All rows that are not blank, cells stripped."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}); save it as CSV UTF-8") from error
    except csv.Error as error:
        raise ValueError(f"{path} line {reader.line_num} is not CSV: {error}; save it as CSV again") from error
    rows = [(line, cells) for line, cells in rows if any(cells)]
    if len(rows) <= 3:
        raise ValueError(f"{path} has {len(rows)} rows; it needs three header rows and at least one image")
    return rows


def _header(path: Path, rows: list[Row]) -> list[list[str]]:
    """The cells of the rows scorer, bodyparts and coords."""
    found = [cells[0].lower() for _, cells in rows[:4]]
    if "individuals" in found:
        raise ValueError(
            f"{path} labels several animals an image (it has a row individuals), which is not supported yet;"
            " use a file with one animal an image, whose first rows are scorer, bodyparts, coords"
        )
    if found[:3] != ["scorer", "bodyparts", "coords"]:
        raise ValueError(
            f"{path}: its first rows begin with {', '.join(found[:3])}; they must begin with scorer, bodyparts, coords"
        )
    header = [cells for _, cells in rows[:3]]
    if len({len(cells) for cells in header}) > 1:
        counts = ", ".join(str(len(cells)) for cells in header)
        raise ValueError(f"{path}: its three header rows have {counts} columns; give them the same number")
    return header


def _columns(path: Path, header: list[list[str]]) -> tuple[int, dict[str, dict[str, int]]]:
    """How many columns spell the image's path, and in which column each keypoint has its x and y."""
    _, bodyparts, coords = header
    # A path in three columns (labeled-data, video, image) leaves the header cells above it empty.
    width = next((i for i in range(1, len(coords)) if bodyparts[i] or coords[i]), len(coords))
    columns: dict[str, dict[str, int]] = {}
    for column in range(width, len(coords)):
        name, coord = bodyparts[column], coords[column].lower()
        if not name or coord not in ("x", "y", "likelihood"):
            raise ValueError(
                f"{path} column {column + 1}: its header is bodypart {name!r}, coord {coords[column]!r};"
                " every column needs a bodypart, and x, y or likelihood"
            )
        if columns.setdefault(name, {}).setdefault(coord, column) != column:
            raise ValueError(f"{path} column {column + 1}: {coord} of {name} stands twice; remove one of the columns")
    for name, found in columns.items():
        if not {"x", "y"} <= set(found):
            raise ValueError(f"{path}: keypoint {name} has columns {', '.join(found)}; it needs both x and y")
    if not columns:
        raise ValueError(f"{path}: its header names no keypoint; it needs columns x and y for at least one")
    if any("likelihood" in found for found in columns.values()):
        _log.info("%s: its likelihood columns are not used", path)
    return width, columns


def _image(path: Path, line: int, cells: list[str]) -> str:
    if not all(cells):
        raise ValueError(f"{path} line {line}: its image path {cells} has an empty part; write the whole path")
    return "/".join(cells).replace("\\", "/")  # DeepLabCut on Windows writes backslashes


def _point(path: Path, line: int, cells: list[str], name: str, columns: dict[str, int]) -> tuple[float, float]:
    x, y = (_number(path, line, columns[coord], cells[columns[coord]]) for coord in "xy")
    if math.isnan(x) != math.isnan(y):
        raise ValueError(
            f"{path} line {line}: {name} has x={x:g} and y={y:g}; give both, or leave both empty for unlabelled"
        )
    return x, y


def _number(path: Path, line: int, column: int, cell: str) -> float:
    """A finite number, or NaN for an empty cell."""
    try:
        # Python reads 1_000 as a number; in a table it is a slip.
        value = float(cell or "nan") if "_" not in cell else math.inf
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise ValueError(
            f"{path} line {line} column {column + 1}: {cell!r} is not a finite number; leave it empty for unlabelled"
        )
    return value
