"""A folder with one JSON an image: the boxes and keypoints of the objects in it."""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from softpoint.images.decode import SUFFIXES
from softpoint.labels.formats.parsing.json_values import (
    box,
    entries,
    keypoint_count,
    load_json,
    numbers,
    record,
    shown,
    text,
)
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import OCCLUDED, UNLABELED, VISIBLE, Labels, Subject
from softpoint.labels.skeleton import Skeleton
from softpoint.labels.split_file import split_name

DESCRIPTION = "a folder with one JSON an image that has bboxes and keypoints, in annotations/ beside images/"

# How many files are looked at before a folder is said to be something else: the first ones may be damaged.
_TRIED = 5

_log = logging.getLogger(__name__)
_KEYS = re.compile(rb'"(bboxes|keypoints)"\s*:\s*\[')


class _Object(NamedTuple):
    """One object as its file says it, before it is known how many keypoints the others have."""

    image: str
    place: str
    points: np.ndarray | None = None  # float64 (K, 3): x, y, v; None for an image of nothing
    box: tuple[float, float, float, float] | None = None


def recognize(path: Path, head: bytes) -> bool:
    """Whether a folder has such files in one of the layouts that `read` knows."""
    try:
        return path.is_dir() and any(map(_looks_so, _files(path)))
    except OSError:
        return False


def _files(folder: Path) -> list[Path]:
    found = [file for labeled, _ in _splits(folder) for file in _jsons(labeled)]
    return found[:_TRIED]


def _looks_so(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(1 << 16)
    return {match.group(1) for match in _KEYS.finditer(head)} == {b"bboxes", b"keypoints"}


def read(path: Path, problems: RowErrors) -> Labels:
    """The labels of all objects; a file without objects is an image that shows none.

    `path` holds annotations/ and images/, or JSON files beside their images, or folders of that kind (train/,
    test/). The image of x.json is x with any suffix of an image. An image without a JSON file has not been
    looked at by anybody and is left out, with a warning that counts them.
    Boxes are left, top, right and bottom edge, counted from the corner of the image. Visibility is COCO's where
    a 2 occurs; where none does in the whole set, 1 means visible. The keypoints, which have no names, are called
    keypoint_1 and so on. Raises ValueError for a folder without such files.
    """
    try:
        objects = _objects(path, problems)
    except NotADirectoryError as error:
        raise ValueError(f"{path} is a file; name the folder of the JSON files") from error
    except PermissionError as error:
        raise ValueError(f"{error.filename} may not be read by this user; change its permissions") from error
    counts = Counter(len(one.points) for one in objects if one.points is not None)
    if not counts:
        problems.raise_or_warn()
        raise ValueError(f"{path}: none of its JSON files has an object with keypoints; name the folder that has them")
    count = counts.most_common(1)[0][0]  # the usual number is right, not that of the file that comes first
    example = next(one.place for one in objects if one.points is not None and len(one.points) == count)
    names = tuple(f"keypoint_{number}" for number in range(1, count + 1))
    subjects = []
    for one in objects:
        with problems.row(one.place):
            subjects.append(_subject(one, count, example))
    # Of several folders with annotations and images, each may be called after a split.
    splits = {one.image: name for one in subjects if (name := split_name(one.image.split("/")[0]))}
    return Labels(str(path), str(path), Skeleton(names), tuple(_with_visibility(path, subjects)), splits=splits)


def _splits(folder: Path) -> list[tuple[Path, Path]]:
    """The folders of JSON files and those of their images."""
    if own := _split(folder):
        return [own]
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [split for path in inside if (split := _split(path))]


def _split(folder: Path) -> tuple[Path, Path] | None:
    labeled, imaged = folder / "annotations", folder / "images"
    if labeled.is_dir() and imaged.is_dir():
        return labeled, imaged
    return (folder, folder) if _jsons(folder) and _images(folder) else None


def _jsons(folder: Path) -> list[Path]:
    # macOS leaves ._x.json beside x.json on foreign disks.
    files = (path for path in folder.iterdir() if path.suffix.lower() == ".json" and not path.name.startswith("."))
    return sorted(path for path in files if path.is_file())


def _images(folder: Path) -> dict[str, list[str]]:
    """The images in a folder by the name without its suffix."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            found.setdefault(path.stem, []).append(path.name)
    return found


def _objects(folder: Path, problems: RowErrors) -> list[_Object]:
    """What all files say, file by file."""
    found: list[_Object] = []
    unseen: list[str] = []
    for labeled, imaged in _splits(folder):
        images = _images(imaged)
        files = _jsons(labeled)
        for file in files:
            place = file.relative_to(folder).as_posix()
            with problems.row(place):
                image = text(_image(file, imaged, images).relative_to(folder).as_posix(), "image")
                found += _in_file(record(load_json(file)), image, place, problems)
        unseen += [name for stem in images.keys() - {file.stem for file in files} for name in images[stem]]
    if unseen:
        _log.warning(
            "%s: left out %d images without a JSON file, first %s; give one with empty lists to an image that"
            " shows no object",
            folder,
            len(unseen),
            min(unseen),
        )
    return found


def _image(file: Path, imaged: Path, images: dict[str, list[str]]) -> Path:
    names = images.get(file.stem, [])
    if not names:
        raise ValueError(f"no image {file.stem}.* lies in {imaged}; add it, or remove the JSON file")
    if len(names) > 1:
        raise ValueError(f"{' and '.join(names)} both bear its name; remove one")
    return imaged / names[0]


def _in_file(content: dict[str, Any], image: str, place: str, problems: RowErrors) -> list[_Object]:
    """The objects of one file, or the image alone where there is none."""
    if "keypoints" not in content:
        raise ValueError(
            f"it has no keypoints, only {shown(list(content))}; give it a list with the points of each object"
        )
    points = entries(content["keypoints"], "keypoints")
    boxes = entries(content.get("bboxes", [None] * len(points)), "bboxes")
    if len(points) != len(boxes):
        raise ValueError(
            f"it has {len(boxes)} bboxes for the keypoints of {len(points)} objects; give each object both"
        )
    found = []
    for number, (own, bbox) in enumerate(zip(points, boxes, strict=True), 1):
        with problems.row(f"{place} object {number}"):
            found.append(_Object(image, f"{place} object {number}", _points(own), _edges(bbox)))
    return found if points else [_Object(image, place)]


def _points(own: Any) -> np.ndarray:
    """float64 (K, 3): x, y, v."""
    if not keypoint_count(len(entries(own, "keypoints"))):
        raise ValueError("it has no keypoints; remove it, or give it points with visibility 0")
    points = np.array(
        [numbers(point, f"keypoint {number} (x, y, visibility)", 3) for number, point in enumerate(own, 1)]
    )
    for number, (x, y, state) in enumerate(points.tolist(), 1):
        if state not in (UNLABELED, OCCLUDED, VISIBLE):
            raise ValueError(f"its keypoint {number} has visibility {state:g}; it must be 0, 1 or 2")
        if state and not math.isfinite(x + y):
            raise ValueError(f"its keypoint {number} is labeled at x={x:g} y={y:g}; correct it")
    return points


def _edges(bbox: Any) -> tuple[float, float, float, float] | None:
    if bbox is None:
        return None
    left, top, right, bottom = numbers(bbox, "bbox", 4).tolist()
    return box(left, top, right, bottom, bbox)


def _subject(one: _Object, count: int, example: str) -> Subject:
    points = np.zeros((count, 3)) if one.points is None else one.points
    if len(points) != count:
        raise ValueError(f"it has {len(points)} keypoints, but {example} and most others have {count}; correct it")
    visibility = points[:, 2].astype(np.int64)
    keypoints = np.where(visibility[:, None] > 0, points[:, :2], np.nan)
    return Subject(one.image, one.place, keypoints, visibility, one.box)


def _with_visibility(path: Path, subjects: list[Subject]) -> list[Subject]:
    """The subjects, 1 being read as visible where no 2 tells visible from occluded."""
    if any((one.visibility == VISIBLE).any() for one in subjects):
        return subjects
    _log.info("%s: no visibility is 2, so 1 is taken to mean visible", path)
    return [replace(one, visibility=VISIBLE * one.visibility) for one in subjects]
