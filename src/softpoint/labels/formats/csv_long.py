"""A plain CSV with one row a point: image, keypoint, x, y."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.labels.csv_io import bounded, read_rows, same_length, separator_of, sniff
from softpoint.labels.formats.csv_wide import state
from softpoint.labels.formats.parsing.csv_columns import facts, fields, warn_unused
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton, infer_flip_pairs
from softpoint.paths import normalize_path

DESCRIPTION = "a CSV with columns image, keypoint, x, y and one row a point"

_COLUMNS = {
    "keypoint": ("keypoint", "keypoint_name", "bodypart", "landmark", "joint", "part", "point"),
    "x": ("x",),
    "y": ("y",),
    "visibility": ("visibility", "visible", "v"),
    "likelihood": ("likelihood", "confidence", "score"),
}


@dataclass
class _Found:
    """A subject as its rows are read."""

    place: str
    said: dict[str, Any]
    points: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    lines: dict[str, str] = field(default_factory=dict)


def recognize(path: Path, head: bytes) -> bool:
    """Whether a file that begins like this has columns for keypoint, x and y.

    >>> recognize(Path(), b"x,y,image,keypoint"), recognize(Path(), b"image,nose_x,nose_y")
    (True, False)
    """
    return sniff(head, _fits) is not None


def read(path: Path, problems: RowErrors) -> Labels:
    """The labels, keypoints in the order in which they first appear. Raises ValueError for an unknown header."""
    separator = separator_of(path, _fits)
    rows = read_rows(path, separator)
    header = rows[0][1] if rows else []
    columns = _columns(path, header)
    where = fields(str(path), header, set(columns.values()))
    warn_unused(str(path), header, {*columns.values(), *where.values()})
    found: dict[tuple[str, str, str], _Found] = {}
    for line, cells in rows[1:]:
        with problems.row(f"line {line}"):
            same_length(cells, len(header))
            name = cells[columns["keypoint"]]
            values = state(cells, name or "a keypoint without a name", columns, separator)
            _add(found, f"line {line}", facts(where, cells, separator), name, values)
    names = tuple(dict.fromkeys(name for subject in found.values() for name in subject.points))
    if not names:
        problems.raise_or_warn()
        raise ValueError(f"{path} names no keypoint in any row; fill in its column {header[columns['keypoint']]!r}")
    bounded(str(path), len(names))
    skeleton = Skeleton(names, infer_flip_pairs(names))
    subjects = tuple(_subject(subject, names) for subject in found.values())
    return Labels(str(path), str(path.parent), skeleton, subjects, _categories(found.values(), names))


def _fits(rows: list[list[str]]) -> bool:
    return {"keypoint", "x", "y"} <= set(_places(rows[0]))


def _places(header: Sequence[str]) -> dict[str, int]:
    lower = [title.lower() for title in header]
    found = {kind: [lower.index(name) for name in names if name in lower] for kind, names in _COLUMNS.items()}
    return {kind: places[0] for kind, places in found.items() if places}


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    columns = _places(header)
    if missing := [kind for kind in ("keypoint", "x", "y") if kind not in columns]:
        raise ValueError(
            f"{path}: its first row is {','.join(header)[:200]!r}, which has no column {' or '.join(missing)};"
            " it needs image, keypoint, x and y"
        )
    return columns


def _add(
    found: dict[tuple[str, str, str], _Found],
    place: str,
    said: dict[str, Any],
    name: str,
    values: tuple[float, float, int],
) -> None:
    """Takes in one row; ValueError where it contradicts an earlier one."""
    if not name and values[2]:
        raise ValueError("it has coordinates but no keypoint; name it")
    key = (normalize_path(said["image"]), said.get("category", ""), said.get("name", ""))
    subject = found.get(key) or _Found(place, said)
    if name in subject.points:
        raise ValueError(f"labels {name} in {said['image']}, as {subject.lines[name]} does; remove one of them")
    subject.said = _agreed(subject, said)
    found[key] = subject
    if name:
        subject.points[name], subject.lines[name] = values, place


def _agreed(subject: _Found, said: dict[str, Any]) -> dict[str, Any]:
    """What both rows say of a subject; it need not stand in each of its rows."""
    merged = dict(subject.said)
    for fact, value in said.items():
        if _blank(merged[fact]):
            merged[fact] = value
        elif fact != "image" and not _blank(value) and value != merged[fact]:
            raise ValueError(f"its {fact} is {value}, but {subject.place} says {merged[fact]} of the same subject")
    return merged


def _blank(value: Any) -> bool:
    return value in (None, "", False, (0, 0)) or value != value


def _subject(found: _Found, names: Sequence[str]) -> Subject:
    states = [found.points.get(name, (np.nan, np.nan, 0)) for name in names]
    keypoints = np.array([(x, y) for x, y, _ in states], np.float64).reshape(-1, 2)
    visibility = np.array([seen for *_, seen in states], np.int64)
    return Subject(place=found.place, keypoints=keypoints, visibility=visibility, **found.said)


def _categories(found: Iterable[_Found], names: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    belong: dict[str, set[str]] = {}
    for subject in found:
        if kind := subject.said.get("category"):
            belong.setdefault(kind, set()).update(subject.points)
    return {kind: tuple(name for name in names if name in of or not of) for kind, of in belong.items()}
