"""A folder with one JSON per image: the boxes and keypoints of the objects in it."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from softpoint.images.listing import SUFFIXES
from softpoint.labels.formats.parsing import json_values
from softpoint.labels.formats.parsing.known_skeletons import numbered
from softpoint.labels.formats.parsing.rows import read_head, usual_count
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import OCCLUDED, UNLABELED, VISIBLE, Labels, Subject
from softpoint.labels.skeleton import Skeleton
from softpoint.labels.split import split_name
from softpoint.progress import track

DESCRIPTION = "a folder with one JSON per image that has bboxes and keypoints, in annotations/ beside images/"

_TRIED = 5  # files that `recognize` opens: the first ones may be damaged

_log = logging.getLogger(__name__)
_KEYS = re.compile(rb'"(bboxes|keypoints)"\s*:\s*\[')


class _Object(NamedTuple):
    """An object of one file, before the number of keypoints of the whole set is determined."""

    image: str
    place: str
    points: np.ndarray | None = None  # float64 (K, 3): x, y, v; None for an image without objects
    box: tuple[float, float, float, float] | None = None


def recognize(path: Path, head: bytes) -> bool:
    """Return whether a folder has such files in one of the layouts of `read`."""
    try:
        files = [file for folder, _ in _folders(path) for file in _json_files(folder)] if path.is_dir() else []
        heads = map(read_head, files[:_TRIED])
        return any({m[1] for m in _KEYS.finditer(head)} == {b"bboxes", b"keypoints"} for head in heads)
    except OSError:
        return False


def read(path: Path, errors: RowErrors, images: Path | None = None) -> Labels:
    """Return the labels of all objects; a file without objects is an unlabeled image.

    `path` holds annotations/ and images/, or JSON files beside their images, or subfolders of either kind (train/,
    test/). The image of x.json is x with any suffix of an image. An image without a JSON file has not been annotated
    and is left out, with a warning.
    Boxes are left, top, right and bottom edge, counted from the corner of the image. Visibility is COCO's if a 2 occurs
    in the set; otherwise 1 means visible. The keypoints have no names and are called keypoint_1 and so on.
    Raises ValueError for a folder without such files.
    """
    try:
        objects = _objects(path, errors)
    except NotADirectoryError as error:
        raise ValueError(f"{path} is a file; name the folder of the JSON files") from error
    except PermissionError as error:
        raise ValueError(f"{error.filename} may not be read by this user; change its permissions") from error
    missing = f"{path}: none of its JSON files has an object with keypoints; name the folder that has them"
    count = usual_count((len(o.points) for o in objects if o.points is not None), errors, missing)
    example = next(o.place for o in objects if o.points is not None and len(o.points) == count)
    subjects = []
    for object_ in objects:
        with errors.row(object_.place, object_.image):
            points = np.zeros((count, 3)) if object_.points is None else object_.points
            if len(points) != count:
                raise ValueError(
                    f"it has {len(points)} keypoints, but {example} and most others have {count}; correct it"
                )
            visibility = points[:, 2].astype(np.int64)
            keypoints = np.where(visibility[:, None] > 0, points[:, :2], np.nan)
            subjects.append(Subject(object_.image, object_.place, keypoints, visibility, object_.box))
    if not any((subject.visibility == VISIBLE).any() for subject in subjects):
        _log.info("%s: no visibility is 2, so 1 means visible", path)
        subjects = [replace(subject, visibility=VISIBLE * subject.visibility) for subject in subjects]
    # Subfolders may be named after splits.
    splits = {s.image: name for s in subjects if (name := split_name(s.image.split("/")[0]))}
    skeleton = Skeleton(numbered(count))
    return Labels(str(path), str(path), skeleton, tuple(subjects), splits=splits)


def _folders(folder: Path) -> list[tuple[Path, Path]]:
    """Return pairs of a folder of JSON files and the folder of their images."""
    if own := _folder_pair(folder):
        return [own]
    subfolders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [pair for path in subfolders if (pair := _folder_pair(path))]


def _folder_pair(folder: Path) -> tuple[Path, Path] | None:
    annotations, images = folder / "annotations", folder / "images"
    if annotations.is_dir() and images.is_dir():
        return annotations, images
    return (folder, folder) if _json_files(folder) and _images(folder) else None


def _json_files(folder: Path) -> list[Path]:
    # macOS leaves ._x.json beside x.json on foreign disks.
    files = (path for path in folder.iterdir() if path.suffix.lower() == ".json" and not path.name.startswith("."))
    return sorted(path for path in files if path.is_file())


def _images(folder: Path) -> dict[str, list[str]]:
    """Return the images in a folder by their name without suffix."""
    images: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            images.setdefault(path.stem, []).append(path.name)
    return images


def _objects(root: Path, errors: RowErrors) -> list[_Object]:
    """Return the objects of all files."""
    objects: list[_Object] = []
    unlabeled: list[str] = []
    for folder, image_folder in _folders(root):
        images = _images(image_folder)
        files = _json_files(folder)
        for file in track(files, "reading labels"):
            place = file.relative_to(root).as_posix()
            with errors.row(place) as row:
                names = images.get(file.stem, [])
                if not names:
                    raise ValueError(f"no image {file.stem}.* is in {image_folder}; add it, or remove the JSON file")
                if len(names) > 1:
                    raise ValueError(f"{' and '.join(names)} both have its name; remove one of the two")
                row.image = image = json_values.as_text((image_folder / names[0]).relative_to(root).as_posix(), "image")
                objects += _objects_of_file(json_values.as_object(json_values.load_json(file)), image, place, errors)
        unlabeled += [name for stem in images.keys() - {file.stem for file in files} for name in images[stem]]
    if unlabeled:
        _log.warning(
            "%s: left out %d images without a JSON file, first %s; give empty lists to an image without objects",
            root,
            len(unlabeled),
            min(unlabeled),
        )
    return objects


def _objects_of_file(content: dict[str, Any], image: str, place: str, errors: RowErrors) -> list[_Object]:
    """Return the objects of one file, or the image alone if there is none."""
    if "keypoints" not in content:
        raise ValueError(
            f"it has only {json_values.quote(list(content))}; give it a list keypoints with the points of each object"
        )
    points = json_values.as_list(content["keypoints"], "keypoints")
    boxes = json_values.as_list(content.get("bboxes", [None] * len(points)), "bboxes")
    if len(points) != len(boxes):
        raise ValueError(f"it has {len(boxes)} bboxes but keypoints of {len(points)} objects; give each object both")
    objects = []
    for number, (values, bbox) in enumerate(zip(points, boxes, strict=True), 1):
        with errors.row(f"{place} object {number}", image):
            edges = None if bbox is None else json_values.as_numbers(bbox, "bbox", 4).tolist()
            box = edges and json_values.box_from_corners(edges, bbox)
            objects.append(_Object(image, f"{place} object {number}", _points(values), box))
    return objects if points else [_Object(image, place)]


def _points(values: Any) -> np.ndarray:
    """Return float64 (K, 3): x, y, v."""
    if not json_values.check_keypoint_count(len(json_values.as_list(values, "keypoints"))):
        raise ValueError("it has no keypoints; remove the object, or give it points with visibility 0")
    points = np.array(
        [json_values.as_numbers(p, f"keypoint {k} (x, y, visibility)", 3) for k, p in enumerate(values, 1)]
    )
    for k, (x, y, state) in enumerate(points.tolist(), 1):
        if state not in (UNLABELED, OCCLUDED, VISIBLE):
            raise ValueError(f"keypoint {k} has visibility {state:g}; it must be 0, 1 or 2")
        if math.isnan(x) and math.isnan(y):
            points[k - 1, 2] = UNLABELED
        elif state and not math.isfinite(x + y):
            raise ValueError(f"keypoint {k} is labeled at x={x:g} y={y:g}; correct it")
    return points
