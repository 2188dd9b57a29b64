"""Boxes for predictions: of labels, or of a detector, whose files name no keypoint."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.labels.boxes import boxes_by_image
from softpoint.labels.formats import csv_wide, read_labels
from softpoint.labels.formats.parsing import csv_columns, json_values
from softpoint.labels.formats.parsing.coco_schema import parse_bbox
from softpoint.labels.formats.parsing.rows import check_length, read_head, read_table, sniff
from softpoint.labels.missing import Missing
from softpoint.labels.row_errors import RowErrors
from softpoint.paths import normalize_path

_EDGES = ("box_left", "box_top", "box_right", "box_bottom")

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
    `image_file`, COCO's JSON. Boxes of other `categories` are left out where the file names one of these.
    Raises ValueError for an invalid file, and where no image has a box.
    """
    errors = RowErrors(str(path))
    if (found := _detected(path, errors, image_file)) is None:
        labels = read_labels(path, images=images, missing=missing).with_any_of(keypoints)
        chosen = [name for name in categories if name in labels.categories]
        return boxes_by_image(labels.with_categories(chosen) if chosen else labels, source)
    errors.raise_or_warn()
    kinds = {kind for _, kind, _ in found} & set(categories)
    by_image: dict[str, list[tuple[float, float, float, float]]] = {}
    for image, kind, box in found:
        if not kinds or kind in kinds:
            by_image.setdefault(normalize_path(image), []).append(box)
    if not by_image:
        raise ValueError(f"{path} has no box of an image; check that the file is complete")
    return {image: np.array(rows) for image, rows in by_image.items()}


def _detected(path: Path, errors: RowErrors, image_file: Path | None) -> list[_Box] | None:
    """Return the boxes of a detector's file; None for labels."""
    head = read_head(path).lstrip(b"\xef\xbb\xbf \t\r\n") if path.is_file() else b""
    if head[:1] == b"[" or (head[:1] == b"{" and b'"keypoints"' not in path.read_bytes()):
        return _of_json(path, image_file, errors)
    if head and not csv_wide.recognize(path, head) and sniff(head, _fits) is not None:
        return _of_table(path, errors)
    return None


def _of_json(path: Path, image_file: Path | None, errors: RowErrors) -> list[_Box]:
    content = _load(path)
    names, kinds = _ids(content if isinstance(content, dict) else _load(image_file) if image_file else {})
    entries = content.get("annotations") if isinstance(content, dict) else content
    boxes: list[_Box] = []
    for number, entry in enumerate(json_values.as_list(entries, f"{path}: annotations"), 1):
        with errors.row(f"box {number}"):
            fields = json_values.as_object(entry)
            key, box = fields.get("image_id"), parse_bbox(fields.get("bbox"))
            image = names.get(str(key), key)
            if not isinstance(image, str):
                raise ValueError(
                    f"image_id {json_values.quote(key)} is the id of no image known here; predict with source= the"
                    " COCO file of the images, or write their paths as image_id"
                )
            if box is not None:
                boxes.append((image, kinds.get(str(fields.get("category_id")), ""), box))
    return boxes


def _load(path: Path) -> Any:
    try:
        return json_values.load_json(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _ids(content: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Return the paths of the images and the names of the categories of COCO's JSON, by the text of their ids."""
    tables: list[dict[str, str]] = []
    for name, key in (("images", "file_name"), ("categories", "name")):
        entries = content.get(name) if isinstance(content, dict) else None
        entries = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
        tables.append({str(e.get("id")): e[key] for e in entries if isinstance(e.get(key), str)})
    return tables[0], tables[1]


def _fits(rows: list[list[str]]) -> bool:
    return set(_EDGES) <= {title.lower() for title in rows[0]}


def _of_table(path: Path, errors: RowErrors) -> list[_Box]:
    separator, rows = read_table(path, _fits)
    columns = csv_columns.subject_columns(str(path), rows[0][1])
    boxes: list[_Box] = []
    for line, cells in rows[1:]:
        with errors.row(f"line {line}"):
            check_length(cells, len(rows[0][1]))
            fields = csv_columns.subject_fields(columns, cells, separator)
            if "box" in fields:
                boxes.append((fields["image"], fields.get("category", ""), fields["box"]))
    return boxes
