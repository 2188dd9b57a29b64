"""COCO's keypoint JSON: images, categories with their keypoints, and one annotation a subject."""

from __future__ import annotations

import logging
import math
import mmap
import re
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from softpoint.labels.formats.parsing.coco_schema import Category, Image, Points, category, image, subject
from softpoint.labels.formats.parsing.json_values import entries, keypoint_count, load_json, record, shown
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import UNLABELED, Labels, Subject
from softpoint.labels.skeleton import Skeleton, infer_flip_pairs
from softpoint.paths import normalize_path, write_json

DESCRIPTION = "a JSON object with the lists images, annotations and categories (COCO)"

# The category that `write` gives to subjects that have none.
NAMELESS = "subject"

_log = logging.getLogger(__name__)
_KEYS = re.compile(rb'"(images|annotations)"\s*:\s*\[|"(file_name|image_id)"\s*:')
_T = TypeVar("_T")


def recognize(path: Path, head: bytes) -> bool:
    """Whether it is a JSON object with COCO's lists, or what is left of one that was cut in half.

    >>> recognize(Path(), b'{"images": [], "annotations": []}'), recognize(Path(), b'{"keypoints": []}')
    (True, False)
    """
    if not head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return False
    if _has_lists(head):
        return True
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
            return _has_lists(whole)
    except (OSError, ValueError):
        return False


def _has_lists(content: bytes | mmap.mmap) -> bool:
    """Whether it holds one of the lists and something of an entry, or both lists: a list may fill the whole head."""
    found = {key for match in _KEYS.finditer(content) for key in match.groups() if key}
    return len(found) > 1 and bool(found & {b"images", b"annotations"})


def read(path: Path, problems: RowErrors) -> Labels:
    """The labels, image by image in the order of `images`; one without annotations is kept as showing nothing.

    Categories without keypoints are passed over with their annotations. The others share one skeleton: the
    keypoints of all, in the order in which they first appear. A crowd keeps its box alone; an annotation with
    neither box nor labeled point says nothing. `file_name` starts from the folder of the JSON file. The texts
    `name` of an annotation, and `group` of one or its image, tell individuals and videos apart: COCO has no such keys.
    Raises ValueError for a file that is not COCO's.
    """
    content = _content(path)
    categories, skeleton = _categories(content["categories"], problems)
    if not len(skeleton):
        problems.raise_or_warn()
        raise ValueError(
            f"{path}: none of its {len(categories)} categories has keypoints; name the file that has them"
            " (COCO's person_keypoints_*.json, not instances_*.json)"
        )
    nothing = np.full((len(skeleton), 2), np.nan), np.full(len(skeleton), UNLABELED, np.int64)
    images = _images(content["images"], problems)
    passed = _annotate(content["annotations"], images, categories, nothing, problems)
    if passed:
        _log.info("%s: passed over %d annotations of categories without keypoints", path, passed)
    # Two entries of the file may mean one image.
    each = dict.fromkeys(shows for shows in images.values() if shows)
    subjects = tuple(found for shows in each for found in _subjects(shows, nothing))
    kinds = {kind.name: kind.keypoints for kind in categories.values() if kind and kind.keypoints}
    return Labels(str(path), str(path.parent), skeleton, subjects, kinds)


def _content(path: Path) -> dict[str, list]:
    try:
        content = record(load_json(path))
        for name in ("images", "annotations", "categories"):
            if name not in content:
                raise ValueError(f"it has no {name}; COCO's keypoint files have images, annotations and categories")
            entries(content[name], name)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return content


def _categories(listed: list, problems: RowErrors) -> tuple[dict[Any, Category | None], Skeleton]:
    """The categories by id, and the skeleton of all of them."""
    taken: set[str] = set()
    parts: set[str] = set()

    def parse(entry: dict, place: str) -> Category:
        found = category(entry)
        if found.keypoints and found.name in taken:
            raise ValueError(f"an earlier category is named {found.name!r} too; rename one")
        parts.update(found.keypoints)
        keypoint_count(len(parts))
        taken.update([found.name] if found.keypoints else [])
        return found

    found = _by_id(listed, "category", parse, problems)
    names = tuple(dict.fromkeys(part for kind in found.values() if kind for part in kind.keypoints))
    edges = dict.fromkeys(edge for kind in found.values() if kind for edge in kind.edges)
    column = {part: position for position, part in enumerate(names)}
    placed = {
        key: kind and kind._replace(columns=np.array([column[part] for part in kind.keypoints], int))
        for key, kind in found.items()
    }
    return placed, Skeleton(names, infer_flip_pairs(names), tuple(edges))


def _images(listed: list, problems: RowErrors) -> dict[Any, Image | None]:
    """The images by id; entries with the same file_name are one image."""
    known: dict[str, Image] = {}

    def parse(entry: dict, place: str) -> Image:
        found = image(entry, place)
        return known.setdefault(normalize_path(found.path), found)

    return _by_id(listed, "image", parse, problems)


def _by_id(listed: list, kind: str, parse: Callable[[dict, str], _T], problems: RowErrors) -> dict[Any, _T | None]:
    """What `parse` makes of each entry, by id; None where it cannot be used, or where two entries share the id."""
    found: dict[Any, _T | None] = {}
    for position, entry in enumerate(listed):
        place = _place(kind, position, entry)
        with problems.row(place):
            key = _id(record(entry), "id")
            shared = key in found
            found[key] = None
            if shared:
                raise ValueError(f"an earlier {kind} has the same id; give each its own")
            found[key] = parse(entry, place)
    return found


def _place(kind: str, position: int, entry: Any) -> str:
    numbered = isinstance(entry, dict) and type(entry.get("id")) in (int, str)
    return f"{kind} {shown(entry['id'])}" if numbered else f"{kind} number {position + 1}"


def _id(entry: dict, key: str) -> int | float | str:
    value = entry.get(key)
    # 7.0 is the same key of a dict as 7, and nan is none at all.
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return value
    raise ValueError(f"its {key} is {shown(value)}; it must be an integer or text")


def _annotate(
    listed: list,
    images: dict[Any, Image | None],
    categories: dict[Any, Category | None],
    nothing: Points,
    problems: RowErrors,
) -> int:
    """Give the images their subjects; how many annotations were of categories without keypoints."""
    taken: set[int | float | str] = set()
    passed = 0
    for position, entry in enumerate(listed):
        place = _place("annotation", position, entry)
        with problems.row(place):
            shows = _meant(images, record(entry), "image")
            shows.unread += 1
            _check_id(entry, taken)
            kind = _meant(categories, entry, "category")
            passed += not kind.keypoints
            if kind.keypoints and (found := subject(entry, place, shows, kind, nothing)):
                shows.subjects.append(found)
            shows.unread -= 1
    return passed


def _meant(found: dict[Any, _T | None], entry: dict, kind: str) -> _T:
    key = _id(entry, f"{kind}_id")
    if key not in found:
        raise ValueError(f"its {kind}_id {shown(key)} is the id of no {kind}; correct it")
    if (meant := found[key]) is None:
        raise ValueError(f"its {kind} {shown(key)} cannot be used; correct that first")
    return meant


def _check_id(entry: dict, taken: set[int | float | str]) -> None:
    # Nothing refers to an annotation, and some tools do not number them.
    key = None if entry.get("id") is None else _id(entry, "id")
    if key in taken:
        raise ValueError("an earlier annotation has the same id; give each its own")
    taken |= set() if key is None else {key}


def _subjects(shows: Image, nothing: Points) -> list[Subject]:
    if shows.subjects or shows.unread:
        return shows.subjects
    return [Subject(shows.path, shows.place, *nothing, group=shows.group, size=shows.size)]


def write(labels: Labels, path: Path, sizes: np.ndarray) -> None:
    """Write a file that `read` and COCO's own tools read; whole or not at all, whatever interrupts it.

    COCO demands a box and an area: a subject without box gets that of its labeled points' pixels, one without
    area that of its box. Subjects without category are written as `NAMELESS`. `sizes` (N, 2) is the height and
    width of each subject's image.
    """
    assert len(sizes) == len(labels)
    kinds = _kinds(labels)
    numbered = {name: number for number, name in enumerate(kinds, 1)}
    columns = {name: [labels.skeleton.index(part) for part in parts] for name, parts in kinds.items()}
    images: dict[str, dict] = {}
    annotations: list[dict] = []
    for one, (height, width) in zip(labels.subjects, np.asarray(sizes).tolist(), strict=True):
        new = {"id": len(images) + 1, "file_name": one.image, "width": width, "height": height}
        shows = images.setdefault(normalize_path(one.image), new)
        if _annotated(one):
            ids = {"id": len(annotations) + 1, "image_id": shows["id"], "category_id": numbered[_kind(one)]}
            annotations.append(ids | _annotation(one, columns[_kind(one)]))
        elif one.group is not None:
            shows["group"] = one.group
    _warn(labels, path)
    content = {"info": {"description": "written by softpoint"}, "licenses": [], "images": [*images.values()]}
    categories = [{"id": numbered[name]} | _category(labels, name, parts) for name, parts in kinds.items()]
    write_json(path, content | {"annotations": annotations, "categories": categories}, indent=None)


def _annotated(one: Subject) -> bool:
    return one.box is not None or bool(one.visibility.any())


def _kind(one: Subject) -> str:
    return one.category or NAMELESS


def _kinds(labels: Labels) -> dict[str, tuple[str, ...]]:
    """The keypoints of each category, in an order from which `read` makes the same skeleton where there is one."""
    kinds = dict(labels.categories)
    for one in filter(_annotated, labels.subjects):
        kinds.setdefault(_kind(one), labels.skeleton.names)
    if tuple(dict.fromkeys(chain(*kinds.values()))) != labels.skeleton.names:
        kinds = {kind: tuple(part for part in labels.skeleton.names if part in own) for kind, own in kinds.items()}
    return kinds or {NAMELESS: labels.skeleton.names}


def _category(labels: Labels, name: str, parts: tuple[str, ...]) -> dict:
    edges = [[parts.index(a) + 1, parts.index(b) + 1] for a, b in labels.skeleton.edges if {a, b} <= {*parts}]
    return {"name": name, "supercategory": name, "keypoints": [*parts], "skeleton": edges}


def _annotation(one: Subject, columns: list[int]) -> dict:
    labeled = int((one.visibility > 0).sum())
    points, states = np.nan_to_num(one.keypoints[columns]), one.visibility[columns]
    assert int((states > 0).sum()) == labeled, one  # its category has all points that it has
    bbox = _bbox(one.box or _about(one.keypoints))
    marks = {"name": one.name or None, "group": one.group}
    return {
        "bbox": bbox,
        "area": bbox[2] * bbox[3] if math.isnan(one.area) else float(one.area),
        "iscrowd": int(one.crowd),
        "num_keypoints": labeled,
        "keypoints": [*chain.from_iterable((*point, int(v)) for point, v in zip(points.tolist(), states, strict=True))],
        "segmentation": [],
    } | {key: mark for key, mark in marks.items() if mark is not None}


def _about(keypoints: np.ndarray) -> tuple[float, ...]:
    """The edges of the pixels that hold the labeled points."""
    return (*(np.nanmin(keypoints, axis=0) - 0.5).tolist(), *(np.nanmax(keypoints, axis=0) + 0.5).tolist())


def _bbox(edges: Iterable[float]) -> list[float]:
    """x, y, width and height, counted from the corner of the image, which `read` turns into the same edges."""
    left, top, right, bottom = map(float, edges)
    return [left + 0.5, top + 0.5, _extent(left + 0.5, right), _extent(top + 0.5, bottom)]


def _extent(start: float, edge: float) -> float:
    near = edge + 0.5 - start
    exact = (near, math.nextafter(near, math.inf), math.nextafter(near, 0))
    return next((extent for extent in exact if start + extent - 0.5 == edge), near)


def _warn(labels: Labels, path: Path) -> None:
    written = [one for one in labels.subjects if _annotated(one)]
    counts = {
        "subjects without a box got that of their labeled points": sum(one.box is None for one in written),
        "subjects without an area got that of their box": sum(math.isnan(one.area) for one in written),
        "flip pairs are not kept": len({*labels.skeleton.flip_pairs} - {*infer_flip_pairs(labels.skeleton.names)}),
    }
    if lost := [f"{count} {what}" for what, count in counts.items() if count]:
        _log.warning("%s: COCO cannot hold everything: %s", path, ", ".join(lost))
