"""Boxes for predictions: of labels, or of a detector, whose files name no keypoint."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.labels.boxes import boxes_by_image
from softpoint.labels.formats import csv_wide, read_labels
from softpoint.labels.formats.coco import DEFAULT_CATEGORY
from softpoint.labels.formats.parsing import csv_columns, json_values
from softpoint.labels.formats.parsing.coco_schema import parse_bbox, parse_id
from softpoint.labels.formats.parsing.rows import check_length, read_head, read_table, sniff
from softpoint.labels.missing import Missing
from softpoint.labels.row_errors import RowErrors
from softpoint.paths import normalize_path

_EDGES = ("box_left", "box_top", "box_right", "box_bottom")

_log = logging.getLogger(__name__)

# An image's path, the name of a category or "", and the edges of a box.
_Box = tuple[str, str, tuple[float, float, float, float]]


def read_boxes(
    path: Path,
    keypoints: Sequence[str],
    categories: Collection[str] = (),
    missing: Missing = "auto",
    source: str | None = None,
    images: Path | None = None,
    image_file: Path | None = None,
) -> dict[str, np.ndarray]:
    """Return the boxes (N, 4) of each image, by its path.

    Labels give those of `subject_boxes`. A detector's files are a CSV image,box_left,box_top,box_right,box_bottom,
    COCO's JSON without keypoints, and a JSON list of image_id and bbox; an image_id is a path, or the id of an image in
    `image_file`, COCO's JSON. Boxes of other categories than `categories` are left out where the file has categories.
    Crowds are left out; of these and of all else that is not used one warning tells the count.
    Raises ValueError for an invalid file, where none of its categories is among `categories`, and where no image has a
    box.
    """
    errors, unused = RowErrors(str(path)), Counter[str]()
    if (found := _detected(path, errors, image_file, unused)) is None:
        labels = read_labels(path, images=images, missing=missing).with_any_of(keypoints)
        chosen = _chosen(path, labels.categories, categories)
        return boxes_by_image(labels.with_categories(sorted(chosen)) if chosen else labels, source)
    errors.raise_or_warn()
    kinds = _chosen(path, [kind for _, kind, _ in found], categories)
    unused["boxes of other categories"] += sum(kind not in kinds for _, kind, _ in found) if kinds else 0
    unused["categories: it states none, so that every box counts"] += bool(categories and not kinds)
    if texts := [f"{count} {content}" for content, count in unused.items() if count]:
        _log.warning("%s: not used: %s", path, ", ".join(texts))
    by_image: dict[str, list[tuple[float, float, float, float]]] = {}
    for image, kind, box in found:
        if not kinds or kind in kinds:
            by_image.setdefault(normalize_path(image), []).append(box)
    if not by_image:
        raise ValueError(f"{path} has no box of an image; check that the file is complete")
    return {image: np.array(rows) for image, rows in by_image.items()}


def _chosen(path: Path, found: Iterable[str], categories: Collection[str]) -> set[str]:
    """Return those of a file's categories that are wanted, none where all of its boxes are.

    Raises ValueError for a file that has other categories alone.
    """
    stated = {*found} - {"", DEFAULT_CATEGORY}
    chosen = {*found} & {*categories}
    if categories and stated and not chosen:
        raise ValueError(
            f"{path} has boxes of {', '.join(sorted(stated)[:5])}, but the model was trained on"
            f" {', '.join(sorted(categories)[:5])}; name its categories as the labels of the training do"
        )
    return chosen


def _detected(path: Path, errors: RowErrors, image_file: Path | None, unused: Counter[str]) -> list[_Box] | None:
    """Return the boxes of a detector's file; None for labels."""
    head = read_head(path).lstrip(b"\xef\xbb\xbf \t\r\n") if path.is_file() else b""
    if head[:1] == b"[" or (head[:1] == b"{" and b'"keypoints"' not in path.read_bytes()):
        return _of_json(path, image_file, errors, unused)
    if head and not csv_wide.recognize(path, head) and sniff(head, _fits) is not None:
        return _of_table(path, errors, unused)
    return None


def _of_json(path: Path, image_file: Path | None, errors: RowErrors, unused: Counter[str]) -> list[_Box]:
    content = _load(path)
    place = path if isinstance(content, dict) else image_file
    tables = content if isinstance(content, dict) else _load(image_file) if image_file else {}
    names, kinds = (_names(tables, name, f"{place}: ") for name in ("images", "categories"))
    paths = {normalize_path(name) for name in names.values()}
    entries = content.get("annotations") if isinstance(content, dict) else content
    boxes: list[_Box] = []
    for number, entry in enumerate(json_values.as_list(entries, f"{path}: annotations"), 1):
        with errors.row(f"box {number}"):
            fields = json_values.as_object(entry)
            key, box = parse_id(fields, "image_id"), parse_bbox(fields.get("bbox"))
            image = names.get(key, key)
            if not isinstance(image, str):
                raise ValueError(
                    f"image_id {json_values.quote(key)} is the id of no image known here; predict with source= the"
                    " COCO file of the images, or write their paths as image_id"
                )
            unused["boxes of images that are not in the list"] += bool(names) and normalize_path(image) not in paths
            unused["scores (leave out boxes of low score before)"] += "score" in fields
            unused["boxes without area"] += box is None
            unused["crowds"] += bool(fields.get("iscrowd"))
            if box is not None and not fields.get("iscrowd"):
                boxes.append((image, _kind(fields, kinds), box))
    return boxes


def _kind(fields: dict[str, Any], kinds: dict[int | str, str]) -> str:
    """Return the category of a box, its id where no list names it; "" for a box without."""
    if fields.get("category_id") is None:
        return ""
    key = parse_id(fields, "category_id")
    return kinds.get(key, f"category_id {json_values.quote(key)}")


def _load(path: Path) -> Any:
    try:
        return json_values.load_json(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _names(content: Any, name: str, place: str) -> dict[int | str, str]:
    """Return the paths of the images, or the names of the categories, of COCO's JSON by their ids."""
    key = {"images": "file_name", "categories": "name"}[name]
    entries = content.get(name) if isinstance(content, dict) else None
    names: dict[int | str, str] = {}
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get(key), str) and entry.get("id") is not None:
            number = _checked(place, entry)
            if names.setdefault(number, entry[key]) != entry[key]:
                raise ValueError(
                    f"{place}{names[number]} and {entry[key]} have one id, {json_values.quote(number)};"
                    " give each its own"
                )
    return names


def _checked(place: str, entry: dict[str, Any]) -> int | str:
    try:
        return parse_id(entry, "id")
    except ValueError as error:
        raise ValueError(f"{place}{error}") from error


def _fits(rows: list[list[str]]) -> bool:
    return set(_EDGES) <= {title.lower() for title in rows[0]}


def _of_table(path: Path, errors: RowErrors, unused: Counter[str]) -> list[_Box]:
    separator, rows = read_table(path, _fits)
    columns = csv_columns.subject_columns(str(path), rows[0][1])
    boxes: list[_Box] = []
    for line, cells in rows[1:]:
        with errors.row(f"line {line}"):
            check_length(cells, len(rows[0][1]))
            fields = csv_columns.subject_fields(columns, cells, separator)
            unused["crowds"] += fields.get("crowd", False)
            if "box" in fields and not fields.get("crowd"):
                boxes.append((fields["image"], fields.get("category", ""), fields["box"]))
    return boxes
