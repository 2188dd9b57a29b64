"""Plain CSV with one row per point: image, keypoint, x, y."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from softpoint.labels.formats.parsing import csv_columns
from softpoint.labels.formats.parsing.rows import UniqueRows, check_length, read_table, sniff
from softpoint.labels.row_errors import NothingLeftError, RowErrors
from softpoint.labels.schema import Labels
from softpoint.paths import normalize_path

DESCRIPTION = "a CSV with columns image, keypoint, x, y and one row per point"

_TITLES = {
    "keypoint": ("keypoint", "keypoint_name", "bodypart", "landmark", "joint", "part", "point"),
    "x": ("x",),
    "y": ("y",),
    "visibility": ("visibility", "visible", "v"),
    "likelihood": ("likelihood", "confidence", "score"),
}


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
    field_columns = csv_columns.subject_columns(str(path), header, columns.values())
    subjects: dict[tuple[str, str, str], csv_columns.Row] = {}
    unique = UniqueRows()
    refused: set[str] = set()  # rows of which an audit keeps a part, and training none

    def parts() -> dict[str, list[int]]:
        return csv_columns.optional_parts(field_columns) | {name: [i for k, i in columns.items() if k != "keypoint"]}

    def parse(cells: Sequence[str]) -> tuple[csv_columns.State, dict[str, Any]]:
        point = csv_columns.point_state(cells, name or "a keypoint without a name", columns, separator)
        return point, csv_columns.subject_fields(field_columns, cells, separator)

    for line, cells in rows[1:]:
        place = f"line {line}"
        with errors.row(place, csv_columns.image_in(field_columns, cells)) as row:
            check_length(cells, len(header))
            name = cells[columns["keypoint"]]
            point, fields = row.usable(parse, cells, parts, "")
            if any(error.place == place for error in errors.errors[-1:]):
                refused.add(place)
            if not name and point[2]:
                raise ValueError("the row has coordinates but no keypoint; name the keypoint")
            key = (normalize_path(fields["image"]), fields.get("category", ""), fields.get("name", ""))
            first_place, earlier, points = subjects.get(key) or (place, {}, {})
            subjects[key] = (place if first_place in refused else first_place, earlier, points)
            for field, value in fields.items():
                if field != "image" and earlier.get(field, value) != value:
                    raise ValueError(
                        f"{field} is {value}, but {earlier[field]} in {first_place} of the same subject; correct one"
                    )
            if name:
                unique.add((key, name), place, f"{name} in {fields['image']}")
                points[name] = point
            earlier.update(fields | earlier)
    names = tuple(dict.fromkeys(name for *_, points in subjects.values() for name in points))
    if not names:
        errors.raise_or_warn()
        raise NothingLeftError(
            f"{path} names no keypoint in any row; fill in its column {header[columns['keypoint']]!r}"
        )
    return csv_columns.labels_of(path, names, subjects.values())


def _fits(rows: list[list[str]]) -> bool:
    return {"keypoint", "x", "y"} <= set(_columns(rows[0]))


def _columns(header: Sequence[str]) -> dict[str, int]:
    lower = [title.lower() for title in header]
    matches = {part: [lower.index(title) for title in titles if title in lower] for part, titles in _TITLES.items()}
    return {part: columns[0] for part, columns in matches.items() if columns}
