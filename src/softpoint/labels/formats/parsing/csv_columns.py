"""Columns of a plain CSV: those of a keypoint, and those of a subject: image, name, category, group, box, ..."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from softpoint.labels.csv_io import exact
from softpoint.labels.formats.parsing.rows import parse_cell, whole_point
from softpoint.labels.schema import OCCLUDED, UNLABELED, VISIBLE, Subject

_log = logging.getLogger(__name__)

# Titles of the column with the path of the image; the first of them that a file has is taken.
IMAGE = (
    "image", "img", "image_path", "path", "filepath", "file_path", "filename", "file_name", "image_name", "file",
    "frame", "id",
)  # fmt: skip
_TEXTS = {"name": ("subject", "individual", "animal"), "category": ("category", "class"), "group": ("group", "video")}
_BOX = ("box_left", "box_top", "box_right", "box_bottom")
_SIZE = ("image_height", "image_width")
_CROWD = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}


def subject_columns(source: str, header: Sequence[str], taken: Collection[int] = ()) -> dict[str, int]:
    """Return the column of each field of a subject; the image's is the first column if no title names it.

    Columns in `taken` hold other values. Raises ValueError if none is left for the image, if two columns hold the same
    field, or if an edge of the box or a length of the image is missing.

    >>> subject_columns("a.csv", ["nose_x", "nose_y", "Image", "subject"])
    {'image': 2, 'name': 3}
    """
    lower = [title.lower() for title in header]
    first = {title: i for i, title in reversed(list(enumerate(lower))) if i not in taken}
    columns = {"image": next((first[title] for title in IMAGE if title in first), 0)}
    if columns["image"] in taken:
        raise ValueError(f"{source}: no column holds the path of the image; name that column 'image'")
    for field, titles in (_TEXTS | {name: (name,) for name in (*_BOX, "area", "crowd", *_SIZE)}).items():
        matches = [i for i, title in enumerate(lower) if title in titles and i not in {columns["image"], *taken}]
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
    return columns


def warn_unused(source: str, header: Sequence[str], used: Collection[int]) -> None:
    """Warn of titled columns that are not `used`; raise ValueError if a used column shares its title with another."""
    first: dict[str, int] = {}
    for i, title in enumerate(header):
        earlier = first.setdefault(title, i)
        if title and earlier < i and (i in used or earlier in used):
            raise ValueError(f"{source}: columns {earlier + 1} and {i + 1} are both {title!r}; remove one of the two")
    if unused := [title for i, title in enumerate(header) if title and i not in used]:
        more = f" and {len(unused) - 8} more" if len(unused) > 8 else ""
        _log.warning("%s: columns %s%s are not used", source, ", ".join(unused[:8]), more)


def subject_fields(columns: Mapping[str, int], cells: Sequence[str], separator: str = ",") -> dict[str, Any]:
    """Return the fields in one row as arguments of `Subject`; raise ValueError for impossible values."""
    image = cells[columns["image"]].replace("\\", "/")
    if not image:
        raise ValueError("the cell of the image is empty; write the image's path")
    fields: dict[str, Any] = {"image": image}
    fields |= {field: cells[columns[field]] for field in ("name", "category") if field in columns}
    if "group" in columns:
        fields["group"] = cells[columns["group"]] or None
    if _BOX[0] in columns:
        fields["box"] = _box([parse_cell(cells, columns[edge], separator) for edge in _BOX])
    if "area" in columns:
        fields["area"] = parse_cell(cells, columns["area"], separator)
        if fields["area"] < 0:
            raise ValueError(f"area {fields['area']:g} is negative; correct it, or leave it empty")
    if "crowd" in columns:
        cell = cells[columns["crowd"]]
        if cell.lower() not in _CROWD:
            raise ValueError(f"crowd is {cell!r}; write 0 or 1")
        fields["crowd"] = _CROWD[cell.lower()]
    if _SIZE[0] in columns:
        fields["size"] = _size([parse_cell(cells, columns[length], separator) for length in _SIZE])
    return fields


def _box(edges: list[float]) -> tuple[float, float, float, float] | None:
    left, top, right, bottom = edges
    if all(map(math.isnan, edges)):
        return None
    if not (left < right and top < bottom):  # also if one is NaN
        raise ValueError(
            f"box has left {left:g}, top {top:g}, right {right:g} and bottom {bottom:g}; right must exceed left and"
            " bottom exceed top, or all four must be empty"
        )
    return left, top, right, bottom


def _size(lengths: list[float]) -> tuple[int, int]:
    height, width = (0.0 if math.isnan(length) else length for length in lengths)
    if not (height.is_integer() and width.is_integer() and (height > 0) == (width > 0) and min(height, width) >= 0):
        raise ValueError(f"image_width is {width:g} and image_height {height:g}; write both as whole numbers, or none")
    return int(height), int(width)


def category_keypoints(
    subjects: Iterable[tuple[str, Collection[str]]], names: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Return the keypoints of each category, given (category, keypoints filled in) of every subject.

    A category of which no subject has a keypoint filled in has all of them.

    >>> category_keypoints([("cat", {"tail"}), ("", {"nose"}), ("dog", ())], ["nose", "tail"])
    {'cat': ('tail',), 'dog': ('nose', 'tail')}
    """
    filled: dict[str, set[str]] = {}
    for category, keypoints in subjects:
        if category:
            filled.setdefault(category, set()).update(keypoints)
    return {category: tuple(name for name in names if name in own or not own) for category, own in filled.items()}


def make_subject(place: str, states: Sequence[tuple[float, float, int]], fields: dict[str, Any]) -> Subject:
    """Return the subject with x, y and visibility of each keypoint and the fields of `subject_fields`."""
    keypoints = np.array([(x, y) for x, y, _ in states], np.float64).reshape(-1, 2)
    visibility = np.array([state for *_, state in states], np.int64)
    return Subject(place=place, keypoints=keypoints, visibility=visibility, **fields)


def point_state(cells: Sequence[str], name: str, columns: dict[str, int], separator: str) -> tuple[float, float, int]:
    """Return x, y and visibility of a keypoint; raise ValueError for half a point or an impossible visibility."""
    x, y = whole_point(name, parse_cell(cells, columns["x"], separator), parse_cell(cells, columns["y"], separator))
    labeled = not math.isnan(x)
    if "visibility" not in columns or not cells[columns["visibility"]]:
        return x, y, VISIBLE if labeled else UNLABELED
    state = parse_cell(cells, columns["visibility"], separator)
    if state not in (UNLABELED, OCCLUDED, VISIBLE):
        raise ValueError(f"{name} has visibility {state:g}; it must be 0 (unlabeled), 1 (occluded) or 2 (visible)")
    if state and not labeled:
        raise ValueError(f"{name} has visibility {state:g} but no coordinates; give both, or visibility 0")
    return (x, y, int(state)) if state else (math.nan, math.nan, UNLABELED)


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
