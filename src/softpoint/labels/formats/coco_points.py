"""COCO with one category per keypoint and one annotation per point: RectLabel's, and of CVAT's points."""

from __future__ import annotations

import mmap
import re
from collections import Counter
from pathlib import Path
from typing import Any

from softpoint.labels.formats import coco
from softpoint.labels.formats.parsing import csv_columns, json_values
from softpoint.labels.formats.parsing.coco_schema import Image, leave_out_deleted, parse_id, parse_image
from softpoint.labels.formats.parsing.path_search import folder_of
from softpoint.labels.formats.parsing.rows import UniqueRows
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import OCCLUDED, UNLABELED, VISIBLE, Labels
from softpoint.paths import normalize_path

DESCRIPTION = "a JSON like COCO's with one category per keypoint, and single points (RectLabel, points of CVAT)"

_NUMBER = rb"\s*-?[\d.eE+-]+\s*"
_POINT = re.compile(rb'"segmentation"\s*:\s*\[\s*\[' + _NUMBER + b"," + _NUMBER + rb"\]\s*\]")
# Keypoints of a category, or points of an annotation, of which there are several.
_SEVERAL = re.compile(rb'"keypoints"\s*:\s*\[(\s*"[^"]*"\s*,\s*"|(' + _NUMBER + rb",){3})")


def recognize(path: Path, head: bytes) -> bool:
    """Return whether the file has COCO's lists, and a point as segmentation, or keypoints of one point each alone.

    The latter are of several categories, of which no image has a point twice; else each is a subject of one keypoint.
    """
    if not coco.recognize(path, head):
        return False
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(b'"keypoints"') < 0:
                return _POINT.search(content) is not None
            return _SEVERAL.search(content) is None and _is_one_each(json_values.load_json(path)["annotations"])
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _is_one_each(annotations: list[dict[str, Any]]) -> bool:
    points = [entry for entry in annotations if isinstance(entry, dict) and entry.get("keypoints")]
    owners = [(str(entry["image_id"]), str(entry["category_id"])) for entry in points]
    return len(set(owners)) == len(owners) and len({kind for _, kind in owners}) > 1


def read(path: Path, errors: RowErrors, images: Path | None = None) -> Labels:
    """Return one subject per image, its keypoints in the order of the categories, coordinates as written.

    A point of keypoints has COCO's visibility. Annotations without a single point are counted in `unused`. `file_name`
    is relative to the folder of the file, or the one near it that has nearly all images.
    Raises ValueError for a file that is not of this kind.
    """
    unused: Counter[str] = Counter()
    try:
        content = json_values.as_object(json_values.load_json(path))
        leave_out_deleted(content, unused)
        lists = [json_values.as_list(content.get(name), name) for name in ("images", "annotations", "categories")]
        kinds = [json_values.as_object(entry) for entry in lists[2]]
        names = {parse_id(kind, "id"): json_values.as_text(kind.get("name"), "name") for kind in kinds}
        if len(set(names.values())) < len(kinds):
            raise ValueError("its categories repeat an id or a name; give each keypoint its own")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    found: dict[Any, tuple[Image, dict[str, csv_columns.State]]] = {}
    unique = UniqueRows()
    for number, entry in enumerate(lists[0], 1):
        place = f"image number {number}"
        with errors.row(place) as row:
            image, key = parse_image(json_values.as_object(entry), place), parse_id(entry, "id")
            row.image = image.path
            unique.add(normalize_path(image.path), place, image.path)
            if key in found:
                raise ValueError(f"{image.path} has the id of {found[key][0].place} too; give each its own")
            found[key] = image, {}
    for number, entry in enumerate(lists[1], 1):
        with errors.row(f"annotation number {number}"):
            _add_point(json_values.as_object(entry), found, names, unused)
    rows: list[csv_columns.Row] = []
    for image, points in found.values():
        rows.append((image.place, {"image": image.path, "size": image.size, "group": image.group}, points))
    labels = csv_columns.labels_of(path, tuple(names.values()), rows)
    folder = images or folder_of(path, [image.path for image, _ in found.values()])
    return Labels(str(path), str(folder), labels.skeleton, labels.subjects, unused=unused)


def _add_point(
    entry: dict[str, Any],
    images: dict[Any, tuple[Image, dict[str, csv_columns.State]]],
    names: dict[Any, str],
    unused: Counter[str],
) -> None:
    image, name = images.get(parse_id(entry, "image_id")), names.get(parse_id(entry, "category_id"))
    if image is None or name is None:
        raise ValueError("its image_id or category_id is the id of none")
    parts, points = entry.get("segmentation"), entry.get("keypoints")
    if isinstance(points, list) and points:
        x, y, state = json_values.as_numbers(points, "keypoints", 3).tolist()
    elif isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], list) and len(parts[0]) == 2:
        x, y = json_values.as_numbers(parts[0], "segmentation", 2).tolist()
        state = VISIBLE
    else:
        unused["annotations that are no points"] += 1
        return
    if state not in (UNLABELED, OCCLUDED, VISIBLE):
        raise ValueError(f"{name} has visibility {state:g}; it must be 0, 1 or 2")
    if name in image[1]:
        raise ValueError(f"{image[0].path} has two points {name}; with several subjects label COCO keypoints")
    if state:
        image[1][name] = csv_columns.checked_point(name, x, y, int(state))
