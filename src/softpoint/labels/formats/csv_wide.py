"""Plain CSV with one row per subject: image, nose_x, nose_y, ...; the format of predictions too."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.labels.csv_io import exact, write_rows
from softpoint.labels.formats.parsing import csv_columns
from softpoint.labels.formats.parsing.rows import UniqueRows, check_length, parse_score, read_table, sniff, warn_lost
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import OCCLUDED, Labels
from softpoint.paths import normalize_path

DESCRIPTION = "a CSV with columns image, NAME_x, NAME_y, ... and one row per subject"

_log = logging.getLogger(__name__)

_VISIBILITY = ("visibility", "visible", "vis", "v")
_SCORES = ("likelihood", "confidence", "score", "absent", "occluded")
_PARTS = "|".join(("x", "y", *_VISIBILITY, *_SCORES))
# nose_x, nose.x, "nose x"; or x_nose, X1.
_STYLES = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        rf"(?P<name>.+)[ _.-](?P<part>{_PARTS})",
        rf"(?P<part>{_PARTS})(?:[ _.-](?=.)|(?=\d+\Z))(?P<name>.+)",
    )
)

# The columns of each keypoint: x, y and, if there are any, visibility and likelihood.
Columns = dict[str, dict[str, int]]


def recognize(path: Path, head: bytes) -> bool:
    """Return whether the header has both coordinates of a keypoint.

    >>> recognize(Path(), b"id,X1,Y1"), recognize(Path(), b"image;nose.x;nose.y"), recognize(Path(), b"image,x,y")
    (True, True, False)
    """
    return sniff(head, _fits) is not None


def read(path: Path, errors: RowErrors, images: Path | None = None) -> Labels:
    """Return the labels, with scores as confidences. Raises ValueError for a header without keypoints."""
    separator, rows = read_table(path, _fits)
    header = rows[0][1] if rows else []
    keypoints = _complete_keypoints(path, header)
    taken = {column for columns in keypoints.values() for column in columns.values()}
    field_columns = csv_columns.subject_columns(str(path), header, taken)
    parts = csv_columns.optional_parts(field_columns) | {name: [*own.values()] for name, own in keypoints.items()}
    scored = [columns.get("likelihood", -1) for columns in keypoints.values()]
    if max(scored, default=-1) >= 0:
        _log.info("%s: columns of likelihood or confidence are not used as labels", path)
    subjects: list[csv_columns.Row] = []
    unique = UniqueRows()

    def parse(cells: Sequence[str]) -> tuple[dict[str, csv_columns.State], dict[str, Any]]:
        points = {name: csv_columns.point_state(cells, name, own, separator) for name, own in keypoints.items()}
        return points, csv_columns.subject_fields(field_columns, cells, separator)

    for line, cells in rows[1:]:
        place = f"line {line}"
        with errors.row(place, csv_columns.image_in(field_columns, cells)) as row:
            check_length(cells, len(header))
            points, fields = row.usable(parse, cells, lambda: parts, "")
            image, name = fields["image"], fields.get("name", "")
            if name or any(state for *_, state in points.values()):
                content = None if name else (str(points), fields.get("box"))
                key = (normalize_path(image), fields.get("category"), name, content)
                unique.add(key, place, f"{name} in {image}" if name else image)
            # An empty cell of an unlabeled keypoint means that the category has no such keypoint.
            filled = {
                name: points[name]
                for name, columns in keypoints.items()
                if any(cells[columns[part]] for part in ("x", "visibility") if part in columns)
            }
            if max(scored) >= 0:
                fields["confidence"] = np.array(
                    [parse_score(cells[i], separator) if i >= 0 else np.nan for i in scored]
                )
            subjects.append((place, fields, filled))
    return csv_columns.labels_of(path, tuple(keypoints), subjects)


def _fits(rows: list[list[str]]) -> bool:
    return bool(_keypoints(rows[0]))


def _keypoints(header: Sequence[str]) -> Columns:
    """Return the columns of keypoints in the first naming style that has a complete one; empty without."""
    for style in _STYLES:
        keypoints: Columns = {}
        for i, title in enumerate(header):
            if match := style.fullmatch(title):
                part = match["part"].lower()
                part = "visibility" if part in _VISIBILITY else "likelihood" if part in _SCORES else part
                # A second column of the same title stays unused, which is reported later.
                keypoints.setdefault(match["name"], {}).setdefault(part, i)
        if any({"x", "y"} <= set(columns) for columns in keypoints.values()):
            return keypoints
    return {}


def _complete_keypoints(path: Path, header: Sequence[str]) -> Columns:
    """Return the columns of keypoints with coordinates; raise ValueError if there are none or one lacks x or y."""
    keypoints = _keypoints(header)
    if not keypoints:
        raise ValueError(f"{path}: its header names no keypoint; it needs columns such as nose_x and nose_y")
    for name, columns in keypoints.items():
        if len(present := {"x", "y"} & set(columns)) == 1:
            (axis,) = present
            raise ValueError(
                f"{path} column {columns[axis] + 1}: keypoint {name} has only {axis}; add the other coordinate, or"
                " remove the column"
            )
    return {name: columns for name, columns in keypoints.items() if "x" in columns}


def write(labels: Labels, path: Path, sizes: np.ndarray) -> None:
    """Write one row per subject, with a column for every field that any subject has; numbers are exact."""
    # The visibility tells an unlabeled keypoint of a category from one that the category does not have.
    flags = bool(labels.categories) or bool((labels.visibility == OCCLUDED).any())
    names, fields = labels.skeleton.names, csv_columns.subject_cells(labels.subjects)
    parts = ("x", "y", "visibility") if flags else ("x", "y")
    rows = [["image", *fields, *(f"{name}_{part}" for name in names for part in parts)]]
    for i, subject in enumerate(labels.subjects):
        own = labels.categories.get(subject.category, names)
        cells = [subject.image, *(column[i] for column in fields.values())]
        for name, xy, visible in zip(names, subject.keypoints, subject.visibility, strict=True):
            cells += map(exact, xy)
            if flags:
                cells.append(str(visible) if name in own or visible else "")
        rows.append(cells)
    write_rows(path, rows)
    warn_lost(path, labels, {})
