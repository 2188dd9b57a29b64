"""RectLabel's COCO: one category per keypoint, and one annotation per point, whose segmentation is that point."""

from __future__ import annotations

import mmap
import re
from collections import Counter
from pathlib import Path
from typing import Any

from softpoint.labels.formats import coco
from softpoint.labels.formats.parsing import csv_columns, json_values
from softpoint.labels.formats.parsing.coco_schema import Image, parse_id, parse_image
from softpoint.labels.formats.parsing.rows import UniqueRows
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import VISIBLE, Labels
from softpoint.paths import normalize_path

DESCRIPTION = "a JSON like COCO's with one category per keypoint and points as segmentation (RectLabel)"

_NUMBER = rb"\s*-?[\d.eE+-]+\s*"
_POINT = re.compile(rb'"segmentation"\s*:\s*\[\s*\[' + _NUMBER + b"," + _NUMBER + rb"\]\s*\]")


def recognize(path: Path, head: bytes) -> bool:
    """Return whether the file has COCO's lists, a point as segmentation, and no keypoints."""
    if not coco.recognize(path, head):
        return False
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(b'"keypoints"') < 0 and _POINT.search(content) is not None
    except (OSError, ValueError):
        return False


def read(path: Path, errors: RowErrors, images: Path | None = None) -> Labels:
    """Return one subject per image, its keypoints in the order of the categories, coordinates as written.

    Annotations without a single point are counted in `unused`. `file_name` is relative to the folder of the file.
    Raises ValueError for a file that is not of this kind.
    """
    try:
        content = json_values.as_object(json_values.load_json(path))
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
    unused: Counter[str] = Counter()
    for number, entry in enumerate(lists[1], 1):
        with errors.row(f"annotation number {number}"):
            _add_point(json_values.as_object(entry), found, names, unused)
    rows: list[csv_columns.Row] = []
    for image, points in found.values():
        rows.append((image.place, {"image": image.path, "size": image.size, "group": image.group}, points))
    labels = csv_columns.labels_of(path, tuple(names.values()), rows)
    return Labels(str(path), str(path.parent), labels.skeleton, labels.subjects, unused=unused)


def _add_point(
    entry: dict[str, Any],
    images: dict[Any, tuple[Image, dict[str, csv_columns.State]]],
    names: dict[Any, str],
    unused: Counter[str],
) -> None:
    image, name = images.get(parse_id(entry, "image_id")), names.get(parse_id(entry, "category_id"))
    if image is None or name is None:
        raise ValueError("its image_id or category_id is the id of none")
    parts = entry.get("segmentation")
    if not (isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], list) and len(parts[0]) == 2):
        unused["annotations that are no points"] += 1
        return
    x, y = json_values.as_numbers(parts[0], "segmentation", 2).tolist()
    if name in image[1]:
        raise ValueError(f"{image[0].path} has two points {name}; with several subjects label COCO keypoints")
    image[1][name] = csv_columns.checked_point(name, x, y, VISIBLE)
