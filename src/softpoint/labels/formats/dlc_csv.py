"""The CSV of DeepLabCut and lightning-pose: three or four header rows, then one row an image."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from softpoint.labels.csv_io import (
    Row,
    exact,
    number,
    read_rows,
    same_length,
    separator_of,
    sniff,
    warn_lost,
    write_rows,
)
from softpoint.labels.formats.parsing.dlc_table import COORDS, Column, Once, joined, layout, start_of_paths, subjects
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import OCCLUDED, Labels, Subject
from softpoint.labels.skeleton import infer_flip_pairs
from softpoint.paths import normalize_path

DESCRIPTION = "a CSV whose first rows begin with scorer, bodyparts, coords, or scorer, individuals, bodyparts, coords"

_log = logging.getLogger(__name__)

_SINGLE = ("scorer", "bodyparts", "coords")
_SEVERAL = ("scorer", "individuals", "bodyparts", "coords")


def recognize(path: Path, head: bytes) -> bool:
    """Whether a file that begins like this is one: its header says scorer, or has a row of x and y.

    >>> recognize(Path(), b"scorer,anna,anna"), recognize(Path(), b"image,x,y")
    (True, False)
    """
    return sniff(head, _fits) is not None


def read(path: Path, problems: RowErrors, prefix: str = "") -> Labels:
    """The labels; `likelihood` columns are passed over. Raises ValueError for a header that is not understood.

    `prefix` stands before the line in every place.
    """
    separator = separator_of(path, _fits)
    rows = read_rows(path, separator)
    kinds = _kinds(path, rows)
    header = {kind: _titles(cells) for kind, (_, cells) in zip(kinds, rows, strict=False)}
    width, rows = _path_width(header), rows[len(kinds) :]
    columns = _columns(path, header, width, rows)
    rows = rows[1:] if rows and _names_the_index(rows[0][1], width) else rows
    if not rows:
        raise ValueError(f"{path} has a header but no image below it; check that it is complete")
    found: list[Subject] = []
    once, table = Once(), layout(str(path), columns)
    for line, cells in rows:
        place = f"{prefix}line {line}"
        with problems.row(place):
            same_length(cells, len(header["coords"]))
            image = joined(cells[:width])
            members = subjects(table, image, place, _values(cells, columns, separator))
            once.see(image, place)
            found += members
    return Labels(str(path), str(start_of_paths(path, found)), table.skeleton, tuple(found))


def _values(cells: list[str], columns: list[Column], separator: str) -> list[float]:
    values = [math.nan] * len(cells)
    for column in columns:
        if column.coord != "likelihood":
            values[column.position] = number(cells, column.position, separator)
    return values


def _fits(rows: list[list[str]]) -> bool:
    return (rows[0][0].lower() == "scorer" and len(rows[0]) > 1) or _depth(rows) is not None


def _depth(rows: list[list[str]]) -> int | None:
    """How many header rows there are, the last of which has nothing but x, y and likelihood after its first cell."""
    for depth in (len(_SINGLE), len(_SEVERAL)):
        coords = {cell.lower() for cell in rows[depth - 1][1:] if cell} if len(rows) >= depth else set()
        if {"x", "y"} <= coords <= set(COORDS):
            return depth
    return None


def _kinds(path: Path, rows: list[Row]) -> tuple[str, ...]:
    """What each header row holds, by its first cell, or by its position where no names stand there."""
    found = tuple(cells[0].lower() for _, cells in rows[: len(_SEVERAL)])
    for named in (_SINGLE, _SEVERAL):
        if set(found[: len(named)]) == set(named):
            return _same_width(path, rows, found[: len(named)])
    depth = _depth([cells for _, cells in rows[: len(_SEVERAL)]])
    kinds = _SINGLE if depth == len(_SINGLE) else _SEVERAL
    misplaced = any(cell in _SEVERAL and cell != kind for cell, kind in zip(found, kinds, strict=False))
    if depth is None or misplaced:
        raise ValueError(
            f"{path}: its first rows begin with {', '.join(found[:3])}; they must begin with scorer, bodyparts, coords"
        )
    return _same_width(path, rows, kinds)


def _same_width(path: Path, rows: list[Row], kinds: tuple[str, ...]) -> tuple[str, ...]:
    if len({len(cells) for _, cells in rows[: len(kinds)]}) > 1:
        counts = ", ".join(str(len(cells)) for _, cells in rows[: len(kinds)])
        raise ValueError(f"{path}: its {len(kinds)} header rows have {counts} columns; give them the same number")
    return kinds


def _titles(cells: list[str]) -> list[str]:
    """The cells of a header row, without what pandas writes over a column that has no name."""
    return [re.sub(r"\AUnnamed: \d.*", "", cell) for cell in cells]


def _path_width(header: dict[str, list[str]]) -> int:
    """How many columns spell the image's path: in three (labeled-data, video, image) the cells above are empty."""
    titles = list(zip(header["bodyparts"], header["coords"], strict=True))
    return next((i for i, title in enumerate(titles) if i and any(title)), len(titles))


def _columns(path: Path, header: dict[str, list[str]], width: int, rows: list[Row]) -> list[Column]:
    """What the columns after the path hold; those without a whole title are passed over where they are empty."""
    columns, blank = [], []
    for i in range(width, len(header["coords"])):
        titles = {kind: cells[i] for kind, cells in header.items() if kind != "scorer"}
        if all(titles.values()) and titles["coords"].lower() in COORDS:
            columns.append(Column(i, titles.get("individuals", ""), titles["bodyparts"], titles["coords"].lower()))
        elif any(cells[i] for _, cells in rows if i < len(cells)):
            raise ValueError(
                f"{path} column {i + 1}: its header has {', '.join(f'{kind} {titles[kind]!r}' for kind in titles)};"
                f" a column that is filled in needs {' and '.join(titles)}, the last being x, y or likelihood;"
                " complete its header, or remove it"
            )
        else:
            blank.append(i + 1)
    if blank:
        _log.info("%s: %d empty columns are passed over, first column %d", path, len(blank), blank[0])
    if any(column.coord == "likelihood" for column in columns):
        _log.info("%s: its likelihood columns are not used", path)
    return columns


def _names_the_index(cells: list[str], width: int) -> bool:
    """Whether this is the row in which pandas names the columns of the path, such as `img,,,`."""
    return not any(cells[width:]) and not re.search(r"[\d./\\]", "".join(cells[:width]))


def write(labels: Labels, path: Path, sizes: np.ndarray) -> None:
    """Three header rows, or four where subjects are named or share an image; coordinates as exact numbers."""
    images: dict[str, list[Subject]] = {}
    for subject in labels.subjects:
        members = images.setdefault(normalize_path(subject.image), [])
        members += [subject] if subject.visibility.any() else []
    named = {image: dict(_named(members)) for image, members in images.items()}
    several = any(len(members) > 1 or any(s.name for s in members) for members in images.values())
    individuals = sorted({name for members in named.values() for name in members}) if several else [""]
    columns = [(individual, part) for individual in individuals for part in labels.skeleton.names]
    spelled = {normalize_path(subject.image): subject.image for subject in reversed(labels.subjects)}
    write_rows(path, [*_header(columns, several), *_body(named, spelled, individuals, len(labels.skeleton), several)])
    warn_lost(path, _lost(labels, several))


def _named(members: list[Subject]) -> Iterator[tuple[str, Subject]]:
    """Each subject of an image under a name of its own."""
    taken = {subject.name for subject in members}
    used: set[str] = set()
    for subject in members:
        numbered = (f"individual{i}" for i in range(1, len(members) + 2))
        name = subject.name
        if not name or name in used:
            name = next(new for new in numbered if new not in taken | used)
        used.add(name)
        yield name, subject


def _header(columns: list[tuple[str, str]], several: bool) -> list[list[str]]:
    twice = [column for column in columns for _ in "xy"]
    rows = [["scorer", *("softpoint" for _ in twice)]]
    rows += [["individuals", *(individual for individual, _ in twice)]] if several else []
    return [*rows, ["bodyparts", *(part for _, part in twice)], ["coords", *("xy" * len(columns))]]


def _body(
    named: dict[str, dict[str, Subject]], spelled: dict[str, str], individuals: list[str], K: int, several: bool
) -> Iterator[list[str]]:
    empty = [""] * (2 * K)
    for image, members in named.items():
        found = members if several else dict(zip([""], members.values(), strict=False))
        cells = [spelled[image]]
        for individual in individuals:
            cells += map(exact, found[individual].keypoints.flatten()) if individual in found else empty
        yield cells


def _lost(labels: Labels, several: bool) -> dict[str, int]:
    inferred = infer_flip_pairs(labels.skeleton.names)
    found = labels.subjects
    unnamed = sum(not s.name and bool(s.visibility.any()) for s in found)
    return {
        "flags of occluded points": int((labels.visibility == OCCLUDED).sum()),
        "boxes": sum(s.box is not None for s in found),
        "categories": sum(bool(s.category) for s in found),
        "groups": sum(s.group is not None for s in found),
        "areas": sum(not math.isnan(s.area) for s in found),
        "crowds": sum(s.crowd for s in found),
        "subjects without a point": sum(bool(s.name or s.box) and not s.visibility.any() for s in found),
        "subjects without a name (they become individual1, ...)": unnamed if several else 0,
        "sizes of images": sum(any(s.size) for s in found),
        "edges": len(labels.skeleton.edges),
        "flip pairs that names do not show": len(set(labels.skeleton.flip_pairs) ^ set(inferred)),
    }
