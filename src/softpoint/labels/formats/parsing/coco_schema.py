"""Checked entries of COCO's keypoint JSON: a category, an image, an annotation."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from softpoint.labels.formats.parsing import json_values
from softpoint.labels.row_errors import Row
from softpoint.labels.schema import UNLABELED, Subject

Entry = dict[str, Any]

# Fields that are kept, or follow from those that are; a file that is written has ids of its own.
IMAGE = {"file_name", "height", "width", "group"}
ANNOTATION = {
    *("image_id", "category_id", "keypoints", "num_keypoints", "bbox", "area", "iscrowd", "name", "group"),
}
CATEGORY = {"name", "keypoints", "skeleton"}

_EMPTY: tuple[Any, ...] = (None, [], {}, "")

# Coordinates (K, 2) and visibility (K,) in the skeleton of all categories.
Points = tuple[np.ndarray, np.ndarray]


class Category(NamedTuple):
    """A category; the annotations of one without keypoints are skipped."""

    name: str
    keypoints: tuple[str, ...]
    edges: tuple[tuple[str, str], ...]
    columns: np.ndarray = np.empty(0, np.int64)  # indices of its keypoints in the skeleton of all categories

    def parts(self) -> dict[str, range]:
        """Return the places of x, y and v of each keypoint in the list of an annotation."""
        return {name: range(3 * k, 3 * k + 3) for k, name in enumerate(self.keypoints)}


@dataclass(eq=False)
class Image:
    """An image and its subjects."""

    path: str
    place: str
    size: tuple[int, int]
    group: str | None
    subjects: list[Subject] = field(default_factory=list)
    invalid: int = 0  # number of annotations that cannot be used; such an image does not count as unlabeled


def parse_id(entry: Entry, key: str) -> int | str:
    """Return an id; a text of digits is a number, as some tools write ids of images as text, and references as numbers.

    >>> parse_id({"id": "7"}, "id"), parse_id({"id": 7.0}, "id"), parse_id({"id": "007"}, "id")
    (7, 7, '007')
    """
    value = entry.get(key)
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"0|[1-9]\d{0,17}", value, re.ASCII) else value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise ValueError(f"{key} is {json_values.quote(value)}; it must be an integer or text")


def place_of(kind: str, position: int, entry: Any) -> str:
    """Return the place of an entry, by its id, or without one by its position.

    >>> place_of("image", 0, {"id": 7}), place_of("annotation", 0, {})
    ('image 7', 'annotation number 1')
    """
    key = entry.get("id") if isinstance(entry, dict) else None
    if type(key) is int:
        return f"{kind} {key}" if abs(key) < 10**18 else f"{kind} {json_values.quote(key)}"
    return f"{kind} {json_values.quote(key)}" if isinstance(key, str) else f"{kind} number {position + 1}"


def unread_fields(images: Iterable[Any], annotations: Iterable[Any]) -> Counter[str]:
    """Return the numbers of fields that are filled in but not kept.

    >>> unread_fields([{"file_name": "a.png", "license": 3}], [{"segmentation": [], "track_id": 0}, []])
    Counter({'license of images': 1, 'track_id of annotations': 1})
    """
    counts: Counter[str] = Counter()
    for kind, entries, known in (("images", images, IMAGE), ("annotations", annotations, ANNOTATION)):
        objects = [entry for entry in entries if isinstance(entry, dict)]
        for key in sorted(set[str]().union(*objects) - known):
            values = [entry.get(key) for entry in objects]
            if filled := len(values) - sum(map(values.count, _EMPTY)):
                counts[f"{key} of {kind}"] = filled
    return counts


def leave_out_deleted(content: Entry, unused: Counter[str]) -> None:
    """Remove what COCO Annotator marks as deleted, images with their annotations, and count it in `unused`."""
    lists = {name: content[name] for name in ("images", "annotations") if isinstance(content.get(name), list)}

    def is_deleted(entry: Any) -> bool:
        return isinstance(entry, dict) and entry.get("deleted") is True

    images = {str(entry.get("id")) for entry in filter(is_deleted, lists.get("images", []))}
    for name, entries in lists.items():
        content[name] = [
            entry
            for entry in entries
            if not (is_deleted(entry) or (isinstance(entry, dict) and str(entry.get("image_id")) in images))
        ]
        if count := len(entries) - len(content[name]):
            unused[f"deleted {name}"] = count


def parse_category(entry: Entry, unused: Counter[str]) -> Category:
    """Return name, keypoints and edges; edges that are not pairs of keypoints, counted from 1, are left out."""
    name = json_values.as_text(entry.get("name"), "name")
    parts = json_values.as_list(entry.get("keypoints") or [], "keypoints")
    keypoints = tuple(json_values.as_text(str(part) if type(part) is int else part, "keypoint") for part in parts)
    json_values.check_keypoint_count(len(keypoints))
    if len(set(keypoints)) < len(keypoints):
        repeated = next(part for part in keypoints if keypoints.count(part) > 1)
        raise ValueError(f"keypoint {repeated!r} repeats; rename one of the two")
    pairs = json_values.as_list(entry.get("skeleton") or [], "skeleton") if keypoints else []
    names = dict(enumerate(keypoints, 1))
    known = (
        isinstance(pair, list) and len(pair) == 2 and all(type(end) in (int, float) and end in names for end in pair)
        for pair in pairs
    )
    if not all(known):  # counted from 0, perhaps: then none of them is right
        unused["edges of categories, which do not all join keypoints counted from 1 (set data.edges)"] += len(pairs)
        pairs = []
    return Category(name, keypoints, tuple((names[a], names[b]) for a, b in pairs))


def parse_image(entry: Entry, place: str) -> Image:
    """Return the path, the group, and the size if both lengths are given."""
    path = json_values.as_text(entry.get("file_name"), "file_name").replace("\\", "/")
    lengths = []
    for key in ("height", "width"):
        value = json_values.as_number(entry[key], key) if entry.get(key) is not None else 0.0
        if not (0 <= value < 2**31 and value.is_integer()):
            raise ValueError(f"{key} is {value:g}; it must be a whole number of pixels")
        lengths.append(int(value))
    return Image(path, place, (lengths[0], lengths[1]) if all(lengths) else (0, 0), _optional_text(entry, "group"))


def parse_subject(
    entry: Entry, row: Row, image: Image, category: Category, unlabeled: Points, unused: Counter[str]
) -> Subject | None:
    """Return the subject of an annotation; None if it has neither box nor labeled point.

    `unlabeled` are the points of a subject without labeled ones; a crowd always has these. Points of the annotation
    that the subject does not hold are counted in `unused`.
    """
    if (crowd := entry.get("iscrowd") or 0) not in (0, 1):
        raise ValueError(f"iscrowd is {json_values.quote(crowd)}; it must be 0 or 1")
    points = unlabeled
    if values := entry.get("keypoints"):
        points = row.usable(lambda v: _points(v, category, unlabeled), values, category.parts, 0)
    box = parse_bbox(entry["bbox"]) if entry.get("bbox") else None
    area = json_values.as_number(entry["area"], "area") if entry.get("area") is not None else math.nan
    if area < 0:
        raise ValueError(f"area is {area:g}; it must be 0 or more")
    _count_unused(entry, unused)
    name, group = _optional_text(entry, "name") or "", _optional_text(entry, "group")
    if box is None and (crowd or points is unlabeled):
        return None
    keypoints, visibility = unlabeled if crowd else points
    return Subject(
        image=image.path,
        place=row.place,
        keypoints=keypoints,
        visibility=visibility,
        box=box,
        category=category.name,
        name=name,
        group=image.group if group is None else group,
        area=area,
        crowd=bool(crowd),
        size=image.size,
    )


def parse_bbox(bbox: Any) -> tuple[float, float, float, float] | None:
    """Return the edges of a box of x, y, width and height; None for one without area."""
    left, top, width, height = json_values.as_numbers(bbox, "bbox", 4).tolist()
    if width == 0 or height == 0:
        return None
    return json_values.box_from_corners((left, top, left + width, top + height), bbox)


def _points(values: Any, category: Category, unlabeled: Points) -> Points:
    """Return the points of x, y, v of each keypoint of a category; coordinates with v = 0 are ignored."""
    points = json_values.as_numbers(values, "keypoints", 3 * len(category.keypoints)).reshape(-1, 3)
    if not any(values[2::3]):
        return unlabeled
    states = points[:, 2]
    if not set(states.tolist()) <= {0.0, 1.0, 2.0}:
        wrong = int(np.argmin(np.isin(states, (0, 1, 2))))
        raise ValueError(f"{category.keypoints[wrong]} has visibility {states[wrong]:g}; it must be 0, 1 or 2")
    if not np.isfinite(points).all():
        states[np.isnan(points).sum(axis=1) == 2] = UNLABELED
        for k in np.flatnonzero((states > 0) & ~np.isfinite(points).all(axis=1)):
            raise ValueError(f"{category.keypoints[k]} is labeled at x={points[k, 0]:g} y={points[k, 1]:g}; correct it")
        if not states.any():
            return unlabeled
    keypoints, visibility = unlabeled[0].copy(), unlabeled[1].copy()
    keypoints[category.columns] = np.where(states[:, None] > 0, points[:, :2], np.nan)
    visibility[category.columns] = states
    return keypoints, visibility


def _count_unused(entry: Entry, unused: Counter[str]) -> None:
    """Count points of visibility 0 that have coordinates."""
    values = entry.get("keypoints") or []
    if any(values):  # half of COCO's subjects have zeros alone
        points = zip(values[::3], values[1::3], values[2::3], strict=False)
        unused["points with coordinates but visibility 0"] += sum([1 for x, y, v in points if not v and (x or y)])


def _optional_text(entry: Entry, key: str) -> str | None:
    """Return a text that may be missing, empty or written as an integer."""
    value = str(entry[key]) if type(entry.get(key)) is int else entry.get(key)
    return value if value is None or value == "" else json_values.as_text(value, key)
