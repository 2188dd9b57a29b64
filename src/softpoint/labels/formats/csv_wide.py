"""A plain CSV with one row a subject: image, nose_x, nose_y, ...; also what prediction writes."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from softpoint.labels.csv_io import (
    bounded,
    exact,
    number,
    point,
    read_rows,
    same_length,
    separator_of,
    sniff,
    warn_lost,
    write_rows,
)
from softpoint.labels.formats.parsing.csv_columns import Repeats, cell, facts, fields, used_fields, warn_unused
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import OCCLUDED, UNLABELED, VISIBLE, Labels, Subject
from softpoint.labels.skeleton import Skeleton, infer_flip_pairs

DESCRIPTION = "a CSV with columns image, NAME_x, NAME_y, ... and one row a subject"

_log = logging.getLogger(__name__)

_VISIBILITY, _SCORES = (
    ("visibility", "visible", "vis", "v"),
    ("likelihood", "confidence", "score", "absent", "occluded"),
)
_PARTS = "|".join(("x", "y", *_VISIBILITY, *_SCORES))
# nose_x, nose.x, "nose x"; or x_nose, X1.
_STYLES = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        rf"(?P<name>.+)[ _.-](?P<part>{_PARTS})",
        rf"(?P<part>{_PARTS})(?:[ _.-](?=.)|(?=\d+\Z))(?P<name>.+)",
    )
)

# In which column each keypoint has x, y and perhaps visibility and likelihood.
Points = dict[str, dict[str, int]]


def recognize(path: Path, head: bytes) -> bool:
    """Whether a file that begins like this has both coordinates of a keypoint in one row.

    >>> recognize(Path(), b"id,X1,Y1"), recognize(Path(), b"image;nose.x;nose.y"), recognize(Path(), b"image,x,y")
    (True, True, False)
    """
    return sniff(head, _fits) is not None


def read(path: Path, problems: RowErrors) -> Labels:
    """The labels; scores are passed over. Raises ValueError for a header that is not understood."""
    separator = separator_of(path, _fits)
    rows = read_rows(path, separator)
    header = rows[0][1] if rows else []
    points = _whole_points(path, _points(header))
    bounded(str(path), len(points))
    taken = {column for columns in points.values() for column in columns.values()}
    where = fields(str(path), header, taken)
    warn_unused(str(path), header, taken | set(where.values()))
    if any("likelihood" in columns for columns in points.values()):
        _log.info("%s: its columns of likelihood or confidence are not used", path)
    found: list[Subject] = []
    belong: dict[str, set[str]] = {}
    repeats = Repeats()
    for line, cells in rows[1:]:
        with problems.row(f"line {line}"):
            same_length(cells, len(header))
            subject = _subject(points, where, cells, f"line {line}", separator)
            if subject.name or subject.visibility.any():
                content = subject.keypoints.tobytes() + repr(subject.box).encode()
                repeats.see(subject.place, subject.image, subject.category, subject.name, content)
            found.append(subject)
            if subject.category:
                belong.setdefault(subject.category, set()).update(_filled(points, cells))
    skeleton = Skeleton(tuple(points), infer_flip_pairs(points))
    categories = {kind: tuple(name for name in points if name in of or not of) for kind, of in belong.items()}
    return Labels(str(path), str(path.parent), skeleton, tuple(found), categories)


def _fits(rows: list[list[str]]) -> bool:
    return any({"x", "y"} <= set(columns) for columns in _points(rows[0]).values())


def _points(header: Sequence[str]) -> Points:
    """The keypoints in one style of naming columns, the first that finds a whole one."""
    for style in _STYLES:
        found: Points = {}
        for i, title in enumerate(header):
            if match := style.fullmatch(title):
                part = match["part"].lower()
                part = "visibility" if part in _VISIBILITY else "likelihood" if part in _SCORES else part
                # A second column of the same name is left to be complained of.
                found.setdefault(match["name"], {}).setdefault(part, i)
        if any({"x", "y"} <= set(columns) for columns in found.values()):
            return found
    return {}


def _whole_points(path: Path, points: Points) -> Points:
    if not points:
        raise ValueError(f"{path}: its first row names no keypoint; it needs columns such as nose_x and nose_y")
    for name, columns in points.items():
        if len({"x", "y"} & set(columns)) == 1:
            (has,) = {"x", "y"} & set(columns)
            raise ValueError(
                f"{path} column {columns[has] + 1}: keypoint {name} has only {has}; add the other coordinate, or"
                " remove the column"
            )
    return {name: columns for name, columns in points.items() if "x" in columns}


def _subject(points: Points, where: dict[str, int], cells: list[str], place: str, separator: str) -> Subject:
    said = facts(where, cells, separator)
    states = [state(cells, name, columns, separator) for name, columns in points.items()]
    keypoints = np.array([(x, y) for x, y, _ in states], np.float64).reshape(-1, 2)
    return Subject(place=place, keypoints=keypoints, visibility=np.array([v for *_, v in states], np.int64), **said)


def state(cells: Sequence[str], name: str, columns: dict[str, int], separator: str) -> tuple[float, float, int]:
    """x, y and visibility of a keypoint; ValueError for half a point or an unknown visibility."""
    x, y = point(cells, name, columns["x"], columns["y"], separator)
    labeled = x == x
    if "visibility" not in columns or not cells[columns["visibility"]]:
        return x, y, VISIBLE if labeled else UNLABELED
    said = number(cells, columns["visibility"], separator)
    if said not in (UNLABELED, OCCLUDED, VISIBLE):
        raise ValueError(f"{name} has visibility {said:g}; it is 0 (unlabeled), 1 (hidden) or 2 (visible)")
    if said and not labeled:
        raise ValueError(f"{name} has visibility {said:g} but no coordinates; give both, or visibility 0")
    return (x, y, int(said)) if said else (np.nan, np.nan, UNLABELED)


def _filled(points: Points, cells: Sequence[str]) -> set[str]:
    """The keypoints of which this row says anything, if only that they are unlabeled."""
    return {name for name, of in points.items() if any(cells[of[part]] for part in ("x", "visibility") if part in of)}


def write(labels: Labels, path: Path, sizes: np.ndarray) -> None:
    """One row a subject, with a column for every fact that any of them has; numbers are exact."""
    # An unlabeled keypoint of the subject's own category is told from one that the category lacks.
    flags = bool(labels.categories) or bool((labels.visibility == OCCLUDED).any())
    parts = ("x", "y", "visibility") if flags else ("x", "y")
    names, extra = labels.skeleton.names, used_fields(labels.subjects)
    header = ["image", *extra, *(f"{name}_{part}" for name in names for part in parts)]
    write_rows(path, [header, *(_cells(labels, subject, extra, flags) for subject in labels.subjects)])
    pairs = set(labels.skeleton.flip_pairs) ^ set(infer_flip_pairs(names))
    warn_lost(path, {"edges": len(labels.skeleton.edges), "flip pairs that names do not show": len(pairs)})


def _cells(labels: Labels, subject: Subject, extra: list[str], flags: bool) -> list[str]:
    own = labels.categories.get(subject.category, labels.skeleton.names)
    cells = [subject.image, *(cell(subject, column) for column in extra)]
    for name, xy, visible in zip(labels.skeleton.names, subject.keypoints, subject.visibility, strict=True):
        cells += map(exact, xy)
        if flags:
            cells.append(str(visible) if name in own or visible else "")
    return cells
