"""Columns of a plain CSV: those of a keypoint, and those of a subject: image, name, category, group, box, ..."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.labels.csv_io import exact
from softpoint.labels.formats.parsing.rows import check_size, half_point, parse_cell
from softpoint.labels.schema import OCCLUDED, UNLABELED, VISIBLE, Labels, Subject
from softpoint.labels.skeleton import Skeleton, infer_flip_pairs

_log = logging.getLogger(__name__)

# Titles of the column with the path of the image; the first of them that a file has is taken.
IMAGE = (
    "image", "img", "image_path", "path", "filepath", "file_path", "filename", "file_name", "image_name", "file",
    "frame", "id",
)  # fmt: skip
_TEXTS = {"name": ("subject", "individual", "animal"), "category": ("category", "class"), "group": ("group", "video")}
_INSTEAD = {"name": "track"}  # titles of fields where none of these is there
_BOX = ("box_left", "box_top", "box_right", "box_bottom")
_SIZE = ("image_height", "image_width")
State = tuple[float, float, int]  # x, y and visibility

# A subject's place, its fields as arguments of `Subject`, and the keypoints that are filled in.
Row = tuple[str, dict[str, Any], dict[str, State]]

_CROWD = {"0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}


def subject_columns(source: str, header: Sequence[str], taken: Collection[int] = ()) -> dict[str, int]:
    """Return the column of each field of a subject; the image's is the first column if no title names it.

    Columns in `taken` hold keypoints. Raises ValueError if none is left for the image, if two columns hold the same
    field or share a title, or if an edge of the box or a length of the image is missing. Warns of unused columns.

    >>> subject_columns("a.csv", ["nose_x", "nose_y", "Image", "subject"], {0, 1})
    {'image': 2, 'name': 3}
    """
    lower = [title.lower() for title in header]
    first = {title: i for i, title in reversed(list(enumerate(lower))) if i not in taken}
    columns = {"image": next((first[title] for title in IMAGE if title in first), 0)}
    if columns["image"] in taken:
        raise ValueError(f"{source}: no column holds the path of the image; name that column 'image'")
    for field, titles in (_TEXTS | {name: (name,) for name in (*_BOX, "area", "crowd", *_SIZE)}).items():
        named = titles if {*titles} & first.keys() else (_INSTEAD.get(field),)
        matches = [i for i, title in enumerate(lower) if title in named and i not in {columns["image"], *taken}]
        if len(matches) > 1:
            raise ValueError(
                f"{source}: columns {matches[0] + 1} and {matches[1] + 1} both hold the {field}; remove one of the two"
            )
        columns.update(zip([field], matches, strict=False))
    for together in (_BOX, _SIZE):
        present = [name for name in together if name in columns]
        if 0 < len(present) < len(together):
            missing = min(set(together) - set(present))
            raise ValueError(f"{source} has no column {missing!r}; add it, or remove {', '.join(present)}")
    used = {*taken, *columns.values()}
    seen: dict[str, int] = {}
    for i, title in enumerate(header):
        earlier = seen.setdefault(title, i)
        if title and earlier < i and {earlier, i} & used:
            raise ValueError(f"{source}: columns {earlier + 1} and {i + 1} are both {title!r}; remove one of the two")
    if unused := [title for i, title in enumerate(header) if title and i not in used]:
        more = f" and {len(unused) - 8} more" if len(unused) > 8 else ""
        _log.warning("%s: columns %s%s are not used", source, ", ".join(unused[:8]), more)
    return columns


def image_in(columns: Mapping[str, int], cells: Sequence[str]) -> str:
    """Return the image that a row names; "" where its cell is missing."""
    return cells[columns["image"]] if columns["image"] < len(cells) else ""


def optional_parts(columns: Mapping[str, int]) -> dict[str, list[int]]:
    """Return the columns of each field of a subject that may be empty where it cannot be read.

    >>> optional_parts({"image": 0, "area": 1, "image_height": 2, "image_width": 3})
    {'area': [1], 'size of the image': [2, 3]}
    """
    parts = {"box": _BOX, "area": ("area",), "crowd": ("crowd",), "size of the image": _SIZE}
    found = {part: [columns[name] for name in names if name in columns] for part, names in parts.items()}
    return {part: own for part, own in found.items() if own}


def subject_fields(columns: Mapping[str, int], cells: Sequence[str], separator: str = ",") -> dict[str, Any]:
    """Return the fields filled in in one row as arguments of `Subject`; raise ValueError for impossible values."""

    def numbers(*names: str) -> list[float]:
        values = [parse_cell(cells, columns[name], separator) for name in names if name in columns]
        return [] if all(map(math.isnan, values)) else values

    texts = {field: cells[columns[field]] for field in ("image", *_TEXTS) if field in columns}
    fields: dict[str, Any] = {field: text for field, text in texts.items() if text}
    if "image" not in fields:
        raise ValueError("the cell of the image is empty; write the image's path")
    fields["image"] = fields["image"].replace("\\", "/")
    if edges := numbers(*_BOX):
        left, top, right, bottom = fields["box"] = tuple(edges)
        if not (left < right and top < bottom):  # also if one is NaN
            raise ValueError(
                f"box has left {left:g}, top {top:g}, right {right:g} and bottom {bottom:g}; right must exceed left and"
                " bottom exceed top, or all four must be empty"
            )
    for area in numbers("area"):
        fields["area"] = area
        if area < 0:
            raise ValueError(f"area {area:g} is negative; correct it, or leave it empty")
    if "crowd" in columns and (cell := cells[columns["crowd"]]):
        if cell.lower() not in _CROWD:
            raise ValueError(f"crowd is {cell!r}; write 0 or 1")
        fields["crowd"] = _CROWD[cell.lower()]
    if lengths := numbers(*_SIZE):
        if not all(length > 0 and length.is_integer() for length in lengths):
            raise ValueError(
                f"image_width is {lengths[1]:g} and image_height {lengths[0]:g}; write both as whole numbers, or none"
            )
        fields["size"] = (int(lengths[0]), int(lengths[1]))
    return fields


def point_state(cells: Sequence[str], name: str, columns: dict[str, int], separator: str) -> State:
    """Return x, y and visibility of a keypoint; raise ValueError for half a point or an impossible visibility."""
    x, y = (parse_cell(cells, columns[axis], separator) for axis in "xy")
    if math.isnan(x) != math.isnan(y):
        raise half_point(name, x, y)
    labeled = not math.isnan(x)
    state = parse_cell(cells, columns["visibility"], separator) if "visibility" in columns else math.nan
    if math.isnan(state):
        return x, y, VISIBLE if labeled else UNLABELED
    if state not in (UNLABELED, OCCLUDED, VISIBLE):
        raise ValueError(f"{name} has visibility {state:g}; it must be 0 (unlabeled), 1 (occluded) or 2 (visible)")
    if state and not labeled:
        raise ValueError(f"{name} has visibility {state:g} but no coordinates; give both, or visibility 0")
    return (x, y, int(state)) if state else (math.nan, math.nan, UNLABELED)


def checked_point(name: str, x: float, y: float, state: int) -> State:
    """Return a labeled point, or an unlabeled one where both coordinates are NaN; ValueError for half a point."""
    if math.isnan(x) and math.isnan(y):
        return x, y, UNLABELED
    if not (math.isfinite(x) and math.isfinite(y)):
        raise half_point(name, x, y)
    return x, y, state


def labels_of(path: Path, names: Sequence[str], rows: Iterable[Row]) -> Labels:
    """Return the labels of the rows, with the keypoints `names`.

    A category has the keypoints that any of its subjects has filled in, or all where none is.
    """
    check_size(str(path), len(names))
    subjects = []
    filled: dict[str, set[str]] = {}
    for place, fields, points in rows:
        states = [points.get(name, (math.nan, math.nan, UNLABELED)) for name in names]
        keypoints = np.array([(x, y) for x, y, _ in states], np.float64).reshape(-1, 2)
        visibility = np.array([state for *_, state in states], np.int64)
        subjects.append(Subject(place=place, keypoints=keypoints, visibility=visibility, **fields))
        if subjects[-1].category:
            filled.setdefault(subjects[-1].category, set()).update(points)
    categories = {kind: tuple(name for name in names if name in own or not own) for kind, own in filled.items()}
    skeleton = Skeleton(tuple(names), infer_flip_pairs(names))
    return Labels(str(path), str(path.parent), skeleton, tuple(subjects), categories)


def subject_cells(subjects: Sequence[Subject]) -> dict[str, list[str]]:
    """Return the cells of all subjects in each column, besides the image, that any of them needs."""
    columns = {
        "subject": [s.name for s in subjects],
        "category": [s.category for s in subjects],
        "group": [s.group or "" for s in subjects],
        **{edge: [exact(s.box[i]) if s.box else "" for s in subjects] for i, edge in enumerate(_BOX)},
        "area": [exact(s.area) for s in subjects],
        "crowd": [str(int(s.crowd)) for s in subjects] if any(s.crowd for s in subjects) else [],
        **{length: [str(s.size[i] or "") for s in subjects] for i, length in enumerate(_SIZE)},
    }
    return {title: cells for title, cells in columns.items() if any(cells)}
