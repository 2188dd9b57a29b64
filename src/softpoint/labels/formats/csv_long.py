"""Plain CSV with one row per point: image, keypoint, x, y."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.labels.formats.parsing import csv_columns
from softpoint.labels.formats.parsing.rows import UniqueRows, check_length, check_size, read_table, sniff
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import UNLABELED, Labels
from softpoint.labels.skeleton import Skeleton, infer_flip_pairs
from softpoint.paths import normalize_path

DESCRIPTION = "a CSV with columns image, keypoint, x, y and one row per point"

_TITLES = {
    "keypoint": ("keypoint", "keypoint_name", "bodypart", "landmark", "joint", "part", "point"),
    "x": ("x",),
    "y": ("y",),
    "visibility": ("visibility", "visible", "v"),
    "likelihood": ("likelihood", "confidence", "score"),
}


@dataclass
class _Rows:
    """The rows of one subject."""

    place: str  # of the first row
    fields: dict[str, Any]
    points: dict[str, tuple[float, float, int]] = field(default_factory=dict)

    def merged(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of all rows and a new one, empty in some of them; raise ValueError if it contradicts."""
        merged = dict(self.fields)
        for key, value in fields.items():
            if _is_empty(merged[key]):
                merged[key] = value
            elif key != "image" and not _is_empty(value) and value != merged[key]:
                raise ValueError(
                    f"{key} is {value}, but {merged[key]} in {self.place} of the same subject; correct one"
                )
        return merged


def recognize(path: Path, head: bytes) -> bool:
    """Return whether the header has columns for keypoint, x and y.

    >>> recognize(Path(), b"x,y,image,keypoint"), recognize(Path(), b"image,nose_x,nose_y")
    (True, False)
    """
    return sniff(head, _fits) is not None


def read(path: Path, errors: RowErrors, images: Path | None = None) -> Labels:
    """Return the labels, keypoints in the order of their first row. Raises ValueError for a header without them."""
    separator, rows = read_table(path, _fits)
    header = rows[0][1] if rows else []
    columns = _columns(header)
    if missing := [name for name in ("keypoint", "x", "y") if name not in columns]:
        raise ValueError(
            f"{path}: its header {','.join(header)[:200]!r} has no column {' or '.join(missing)};"
            " it needs image, keypoint, x and y"
        )
    field_columns = csv_columns.subject_columns(str(path), header, set(columns.values()))
    csv_columns.warn_unused(str(path), header, {*columns.values(), *field_columns.values()})
    subjects: dict[tuple[str, str, str], _Rows] = {}
    unique = UniqueRows()
    for line, cells in rows[1:]:
        place = f"line {line}"
        with errors.row(place):
            check_length(cells, len(header))
            name = cells[columns["keypoint"]]
            point = csv_columns.point_state(cells, name or "a keypoint without a name", columns, separator)
            if not name and point[2]:
                raise ValueError("the row has coordinates but no keypoint; name the keypoint")
            fields = csv_columns.subject_fields(field_columns, cells, separator)
            key = (normalize_path(fields["image"]), fields.get("category", ""), fields.get("name", ""))
            subject = subjects.get(key) or _Rows(place, fields)
            merged = subject.merged(fields)
            if name:
                unique.add((key, name), place, f"{name} in {fields['image']}")
                subject.points[name] = point
            subject.fields = merged
            subjects[key] = subject
    names = tuple(dict.fromkeys(name for subject in subjects.values() for name in subject.points))
    if not names:
        errors.raise_or_warn()
        raise ValueError(f"{path} names no keypoint in any row; fill in its column {header[columns['keypoint']]!r}")
    check_size(str(path), len(names))
    filled = [(subject.fields.get("category", ""), subject.points.keys()) for subject in subjects.values()]
    categories = csv_columns.category_keypoints(filled, names)
    skeleton = Skeleton(names, infer_flip_pairs(names))
    missing_point = (np.nan, np.nan, UNLABELED)
    result = []
    for subject in subjects.values():
        states = [subject.points.get(name, missing_point) for name in names]
        result.append(csv_columns.make_subject(subject.place, states, subject.fields))
    return Labels(str(path), str(path.parent), skeleton, tuple(result), categories)


def _fits(rows: list[list[str]]) -> bool:
    return {"keypoint", "x", "y"} <= set(_columns(rows[0]))


def _columns(header: Sequence[str]) -> dict[str, int]:
    lower = [title.lower() for title in header]
    matches = {part: [lower.index(title) for title in titles if title in lower] for part, titles in _TITLES.items()}
    return {part: columns[0] for part, columns in matches.items() if columns}


def _is_empty(value: Any) -> bool:
    return value in (None, "", False, (0, 0)) or value != value
