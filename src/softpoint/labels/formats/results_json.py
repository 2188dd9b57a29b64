"""JSON lists of poses that another model predicted: AlphaPose's, and COCO's result lists as of MMPose."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.labels.formats import coco
from softpoint.labels.formats.parsing import json_values
from softpoint.labels.formats.parsing.coco_schema import parse_bbox, parse_id
from softpoint.labels.formats.parsing.known_skeletons import COCO, numbered, skeleton_of
from softpoint.labels.formats.parsing.path_search import Tails, announce, best_folder, folders_near, image_of_stem
from softpoint.labels.formats.parsing.rows import check_count, read_head, usual_count, visibility_of
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels, Subject

DESCRIPTION = "a JSON list of image_id and keypoints (results of AlphaPose or MMPose)"

_DIGITS = 12  # of an id in the names of COCO's images
_TRIED = 50  # ids that decide on a folder

_Entry = dict[str, Any]


def recognize(path: Path, head: bytes) -> bool:
    """Return whether the file begins with a list of poses.

    >>> recognize(Path(), b'[{"image_id": "a.jpg", "keypoints": [1, 2, 0.9]}]'), recognize(Path(), b'[{"image_id": 1}]')
    (True, False)
    """
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
    return start and b'"image_id"' in head and b'"keypoints"' in head


def read(
    path: Path, errors: RowErrors, images: Path | None = None, ids: Mapping[int | str, str] | None = None
) -> Labels:
    """Return a subject per entry, named by its track_id if it has one; a point of confidence 0 is unlabeled.

    An image_id is the path of an image, an id in `ids` or in the list of images of COCO's file that lies beside, or the
    number that is the name of an image, as COCO's are. 17 points of AlphaPose have COCO's names, others numbers.
    Raises ValueError for an empty list.
    """
    try:
        entries = json_values.as_list(json_values.load_json(path), "the file")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    poses: list[tuple[str, int | str, np.ndarray, Any, str]] = []
    for number, entry in enumerate(entries, 1):
        place = f"entry number {number}"
        with errors.row(place):
            fields = json_values.as_object(entry)
            box = parse_bbox(edges) if (edges := fields.get("bbox", fields.get("box"))) else None
            track = str(parse_id(fields, "track_id")) if "track_id" in fields else ""
            poses.append((place, parse_id(fields, "image_id"), _points(fields), box, track))
    missing = f"{path} has no pose; check that the file is complete"
    count = usual_count((len(points) for _, _, points, *_ in poses), errors, missing)
    folders = [images] if images else folders_near(path)
    known = ids or {}
    listed = _listed_names(path, {key for _, key, *_ in poses if isinstance(key, int) and key not in known})
    poses = [(place, listed.get(key, key), *rest) for place, key, *rest in poses]
    named = [key for _, key, *_ in poses if isinstance(key, str) and key not in known]
    numbers = [key for _, key, *_ in poses if isinstance(key, int) and key not in known][:_TRIED]
    numbered_in = {folder: sum(_of_number(folder, key) is not None for key in numbers) for folder in folders}
    tails = Tails(max(folders, key=numbered_in.__getitem__) if numbers else best_folder(folders, named), named)
    if numbers and not images and numbered_in[tails.folder] and not tails.folder.is_relative_to(path.parent):
        announce(path, tails.folder)
    subjects = []
    for place, key, points, box, track in poses:
        with errors.row(place, key if isinstance(key, str) else "") as row:
            check_count(len(points), count, "keypoints")
            if (image := known.get(key)) is None:
                image = _of_number(tails.folder, key) if isinstance(key, int) else tails[key]
            if image is None:
                raise ValueError(
                    f"image_id {json_values.quote(key)} is not the name of an image in {tails.folder}; put COCO's JSON"
                    f" that lists the images by these ids into {path.parent}, or set data.images to the folder of"
                    " images with these names"
                )
            row.image = image
            pose = points[:, :2]
            states = visibility_of(pose)
            subjects.append(Subject(image, place, pose, states, box, name=track, confidence=points[:, 2]))
    alphapose = any(isinstance(entry, dict) and "box" in entry for entry in entries)
    names = COCO if alphapose and count == len(COCO) else numbered(count)
    return Labels(str(path), str(tails.folder), skeleton_of(names), tuple(subjects))


def _listed_names(path: Path, ids: set[int]) -> dict[int | str, str]:
    """Return the image of each id by the COCO file beside `path` that lists them all; empty without one.

    Raises ValueError where two such files name different images.
    """
    found: dict[Path, dict[int | str, str]] = {}
    folders = (path.parent, path.parent / "annotations")
    for file in sorted(file for folder in folders for file in folder.glob("*.json") if ids and file != path):
        with suppress(ValueError, OSError):
            names = _names_by_id(file) if coco.recognize(file, read_head(file)) else {}
            if ids <= names.keys():
                found[file] = {key: names[key] for key in ids}
    (first, own), *others = [*found.items()] or [(path, {})]
    for file, other in others:
        if other != own:
            raise ValueError(f"{path}: {first} and {file} name different images by its ids; move the wrong one away")
    return own


def _names_by_id(file: Path) -> dict[int | str, str]:
    entries = json_values.as_list(json_values.as_object(json_values.load_json(file)).get("images"), "images")
    objects = [json_values.as_object(entry) for entry in entries]
    return {parse_id(entry, "id"): json_values.as_text(entry.get("file_name"), "file_name") for entry in objects}


def _points(fields: _Entry) -> np.ndarray:
    """Return float64 (K, 3), x, y and confidence of a pose, NaN for confidence 0."""
    values = json_values.as_list(fields.get("keypoints"), "keypoints")
    count = json_values.check_keypoint_count(len(values) // 3)
    points = json_values.as_numbers(values, "keypoints", 3 * count).reshape(-1, 3)
    points[~(points[:, 2] > 0)] = math.nan
    if not count or np.isinf(points).any() or (np.isnan(points[:, 0]) != np.isnan(points[:, 1])).any():
        raise ValueError(f"keypoints {json_values.quote(values)} must be finite x, y and confidence of each point")
    return points


def _of_number(folder: Path, key: int) -> str | None:
    """Return the image in a folder whose name is a number, with or without leading zeros."""
    for stem in (str(key)[:40].zfill(_DIGITS), str(key)[:40]):
        with suppress(ValueError):
            return image_of_stem(folder, stem)
    return None
