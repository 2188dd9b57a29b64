"""Single entries of COCO's keypoint JSON, checked: a category, an image, an annotation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from softpoint.labels.formats.parsing.json_values import box, entries, keypoint_count, number, numbers, shown, text
from softpoint.labels.schema import Subject

# Coordinates (K, 2) and visibility (K,) in the skeleton of all categories.
Points = tuple[np.ndarray, np.ndarray]


class Category(NamedTuple):
    """A kind of subject; one without keypoints is there only to be passed over."""

    name: str
    keypoints: tuple[str, ...]
    edges: tuple[tuple[str, str], ...]
    columns: np.ndarray = np.empty(0, np.int64)  # where its keypoints stand in the skeleton of all categories


@dataclass(eq=False)
class Image:
    """An image, which collects its subjects."""

    path: str
    place: str
    size: tuple[int, int]
    group: str | None
    subjects: list[Subject] = field(default_factory=list)
    unread: int = 0  # annotations that cannot be used; with one of them it is not known to show nothing


def category(entry: dict) -> Category:
    """Name, keypoints and edges; ValueError for edges that are not pairs of keypoints, counted from 1."""
    name = text(entry.get("name"), "name")
    keypoints = tuple(text(part, "keypoint") for part in entries(entry.get("keypoints") or [], "keypoints"))
    keypoint_count(len(keypoints))
    if len(set(keypoints)) < len(keypoints):
        twice = next(part for part in keypoints if keypoints.count(part) > 1)
        raise ValueError(f"its keypoint {twice!r} stands twice; rename one")
    pairs = entries(entry.get("skeleton") or [], "skeleton") if keypoints else []
    edges = (numbers(pair, "skeleton's edge", 2).tolist() for pair in pairs)
    return Category(name, keypoints, tuple((_end(a, keypoints), _end(b, keypoints)) for a, b in edges))


def _end(position: float, keypoints: tuple[str, ...]) -> str:
    if not (1 <= position <= len(keypoints) and position.is_integer()):
        raise ValueError(
            f"its skeleton joins keypoint {position:g}, but COCO counts them from 1, here to {len(keypoints)};"
            " renumber the edges, or leave skeleton out"
        )
    return keypoints[int(position) - 1]


def image(entry: dict, place: str) -> Image:
    """Path, and the size where both sides are stated."""
    path = text(entry.get("file_name"), "file_name").replace("\\", "/")
    size = _pixels(entry, "height"), _pixels(entry, "width")
    return Image(path, place, size if all(size) else (0, 0), _mark(entry, "group"))


def _pixels(entry: dict, key: str) -> int:
    value = number(entry[key], key) if entry.get(key) is not None else 0.0
    if not (0 <= value < 2**31 and value.is_integer()):
        raise ValueError(f"its {key} is {value:g}; it must be a number of pixels")
    return int(value)


def subject(entry: dict, place: str, shows: Image, kind: Category, nothing: Points) -> Subject | None:
    """The subject of an annotation; None where it has neither box nor labeled point.

    `nothing` is what a subject without labeled points has; a crowd has no other.
    """
    if (crowd := entry.get("iscrowd") or 0) not in (0, 1):
        raise ValueError(f"its iscrowd is {shown(crowd)}; it must be 0 or 1")
    points = _points(entry["keypoints"], kind, nothing) if entry.get("keypoints") else nothing
    edges = _edges(entry["bbox"]) if entry.get("bbox") else None
    area = number(entry["area"], "area") if entry.get("area") is not None else math.nan
    if area < 0:
        raise ValueError(f"its area is {area:g}; it must be 0 or more")
    name, group = _mark(entry, "name") or "", _mark(entry, "group")
    group = shows.group if group is None else group
    if edges is None and (crowd or points is nothing):
        return None
    keypoints, visibility = nothing if crowd else points
    return Subject(
        shows.path, place, keypoints, visibility, edges, kind.name, name, group, area, bool(crowd), shows.size
    )


def _points(values: Any, kind: Category, nothing: Points) -> Points:
    """What x, y and v of each keypoint of its category say; coordinates with v = 0 mean nothing."""
    points = numbers(values, "keypoints", 3 * len(kind.keypoints)).reshape(-1, 3)
    if not any(values[2::3]):
        return nothing
    states = points[:, 2]
    if not set(states.tolist()) <= {0.0, 1.0, 2.0}:
        wrong = int(np.argmin(np.isin(states, (0, 1, 2))))
        raise ValueError(f"{kind.keypoints[wrong]} has visibility {states[wrong]:g}; it must be 0, 1 or 2")
    labeled = np.flatnonzero(states)
    for k in labeled[~np.isfinite(points[labeled]).all(axis=1)]:
        raise ValueError(f"{kind.keypoints[k]} is labeled at x={points[k, 0]:g} y={points[k, 1]:g}; correct it")
    keypoints, visibility = nothing[0].copy(), nothing[1].copy()
    keypoints[kind.columns[labeled]] = points[labeled, :2]
    visibility[kind.columns[labeled]] = states[labeled]
    return keypoints, visibility


def _edges(bbox: Any) -> tuple[float, float, float, float]:
    left, top, width, height = numbers(bbox, "bbox", 4).tolist()
    return box(left, top, left + width, top + height, bbox)


def _mark(entry: dict, key: str) -> str | None:
    """A text that may be missing, or be written as a number."""
    value = str(entry[key]) if type(entry.get(key)) is int else entry.get(key)
    return value if value is None or value == "" else text(value, key)
