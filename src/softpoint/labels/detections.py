"""Boxes in the files that detectors write, which name no keypoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from softpoint.images.decode import image_size
from softpoint.images.listing import SUFFIXES
from softpoint.images.read_options import ReadOptions
from softpoint.labels.formats import csv_long, csv_wide, label_studio, mpii, recognize
from softpoint.labels.formats.parsing import csv_columns, json_values
from softpoint.labels.formats.parsing.coco_schema import leave_out_deleted, parse_bbox, parse_id
from softpoint.labels.formats.parsing.path_search import image_of_stem
from softpoint.labels.formats.parsing.rows import (
    check_length,
    parse_cells,
    parse_float,
    read_head,
    read_lines,
    read_table,
    sniff,
)
from softpoint.labels.row_errors import RowErrors
from softpoint.paths import normalize_path

Edges = tuple[float, float, float, float]

# An image's path, the name of a category or "", and the edges of a box.
Box = tuple[str, str, Edges]

# Titles of columns of a table: our edges, edges that count from the corner of the image, and a corner with sizes.
_OWN = ("box_left", "box_top", "box_right", "box_bottom")
_CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
)
_SIZES = (("x", "y", "width", "height"), ("x", "y", "w", "h"), ("left", "top", "width", "height"))

# Keys of an image in JSON; the first that an entry has is taken.
_IMAGE_KEYS = ("file_name", "image", "image_path", "path", "filename")

_Entry = dict[str, Any]


def detections(
    path: Path,
    keypoints: Sequence[str],
    images: Path | None,
    image_file: Path | None,
    errors: RowErrors,
    unused: Counter[str],
) -> list[Box] | None:
    """Return the boxes of a detector's file, or folder of YOLO's text files; None for labels.

    A file is a CSV with columns image and box_left, ... or xmin, ... or x, y, width, height; COCO's JSON without
    keypoints; a JSON list of image_id and bbox, or of images and their boxes (left, top, right, bottom, as torchvision
    returns them), or an object of these by image, also with Ultralytics' entries of name and box. Numbers of images are
    ids in `image_file`; YOLO's fractions, and names without suffix, need the folder of the images. x1, y1, x2, y2 are a
    box unless `keypoints` are named 1 and 2, and x_min, ... unless they are named min and max.
    """
    if path.is_dir():
        return _of_yolo(path, images, errors) if _is_yolo(path) else None
    head = read_head(path).lstrip(b"\xef\xbb\xbf \t\r\n") if path.is_file() else b""
    listed = head[:1] == b"[" and not (label_studio.recognize(path, head) or mpii.recognize(path, head))
    if listed or (head[:1] == b"{" and _has_no_points(path)):
        return _of_json(path, images, image_file, errors, unused)
    points = csv_long.recognize(path, head) or (csv_wide.recognize(path, head) and not _are_corners(head, keypoints))
    if sniff(head, _fits) is not None and not points:
        return _of_table(path, errors, unused)
    return None


def holds_boxes(path: Path) -> bool:
    """Return whether a file is a detector's, with boxes and no keypoints."""
    errors = RowErrors(str(path))
    with suppress(ValueError, OSError):
        found = detections(path, (), None, None, errors, Counter()) if path.is_file() else None
        # Numbers of images, whose list is another file, are errors here.
        return bool(found or (found is not None and _has_no_points(path) and b'"bbox"' in read_head(path)))
    return False


def _has_no_points(path: Path) -> bool:
    content = path.read_bytes()
    return not any(key in content for key in (b'"keypoints"', b'"_via_', b'"region_attributes"'))


def _of_json(
    path: Path, images: Path | None, image_file: Path | None, errors: RowErrors, unused: Counter[str]
) -> list[Box]:
    content = load(path)
    if isinstance(content, dict):
        leave_out_deleted(content, unused)
    coco = isinstance(content, dict) and "annotations" in content
    place = path if coco else image_file
    tables = content if coco else load(image_file) if image_file else {}
    names, kinds = (names_by_id(tables, name, f"{place}: ") for name in ("images", "categories"))
    paths = {normalize_path(name) for name in names.values()}
    boxes: list[Box] = []
    for number, fields in enumerate(_entries(path, content, errors), 1):
        with errors.row(f"box {number}"):
            image, box = _image(fields, names, images), _edges(fields)
            unused["boxes of images that are not in the list"] += bool(names) and normalize_path(image) not in paths
            unused["scores (leave out boxes of low score before)"] += bool({"score", "confidence"} & {*fields})
            unused["boxes without area"] += box is None
            unused["crowds"] += bool(fields.get("iscrowd"))
            if box is not None and not fields.get("iscrowd"):
                boxes.append((image, _kind(fields, kinds), box))
    return boxes


def _entries(path: Path, content: Any, errors: RowErrors) -> Iterator[_Entry]:
    """Yield an entry for each box, with the keys of COCO's or Ultralytics'; boxes of an image are taken apart."""
    if isinstance(content, dict) and "annotations" not in content:
        content = [_of_image(image, value) for image, value in content.items()]
        content = [entry for entries in content for entry in entries]
    elif isinstance(content, dict):
        content = content["annotations"]
    for number, entry in enumerate(json_values.as_list(content, f"{path}: annotations"), 1):
        fields = entry if isinstance(entry, dict) else {}
        if not isinstance(entry, dict):
            with errors.row(f"box {number}"):
                json_values.as_object(entry)
        elif isinstance(fields.get("boxes"), list):
            with errors.row(f"image {number}"):
                yield from _apart(fields)
        else:
            yield fields


def _of_image(image: str, value: Any) -> list[Any]:
    """Return the entries of an image in an object of images."""
    entries = value if isinstance(value, list) else [value]
    return [{"file_name": image} | entry if isinstance(entry, dict) else entry for entry in entries]


def _apart(fields: _Entry) -> list[_Entry]:
    """Return an entry for each of the boxes of an image, which are as torchvision returns them."""
    boxes = fields["boxes"]
    labels = json_values.as_list(fields.get("labels", fields.get("classes", [None] * len(boxes))), "labels")
    if len(labels) != len(boxes):
        raise ValueError(f"it has {len(boxes)} boxes and {len(labels)} labels")
    rest = {key: value for key, value in fields.items() if key not in ("boxes", "labels", "classes", "scores")}
    scored = {"score": 1} if "scores" in fields else {}
    return [
        rest | scored | {"box": box, "corners": True} | ({} if label is None else {"category_id": label})
        for box, label in zip(boxes, labels, strict=True)
    ]


def _image(fields: _Entry, names: Mapping[int | str, str], images: Path | None) -> str:
    """Return the path of an entry's image."""
    named = next((fields[key] for key in _IMAGE_KEYS if isinstance(fields.get(key), str)), None)
    key = parse_id({"image_id": named} if named is not None else fields, "image_id")
    image = names.get(key, key)
    if not isinstance(image, str):
        raise ValueError(
            f"image_id {json_values.quote(key)} is the id of no image known here; predict with source= the"
            " COCO file of the images, or write their paths as image_id"
        )
    if images is not None and PurePosixPath(image).suffix.lower() not in SUFFIXES:
        with suppress(ValueError):  # Ultralytics names an image without its suffix
            return (
                PurePosixPath(image).parent / image_of_stem((images / image).parent, PurePosixPath(image).name)
            ).as_posix()
    return image


def _edges(fields: _Entry) -> Edges | None:
    """Return the edges of an entry's box; None for one without area."""
    if (box := fields.get("bbox", fields.get("box"))) is None:
        raise ValueError(f"it has {', '.join(map(str, fields))[:100]}, and no bbox; give it x, y, width and height")
    if isinstance(box, dict):
        box = [box.get(key) for key in ("x1", "y1", "x2", "y2")]
    elif not fields.get("corners"):
        return parse_bbox(box)
    left, top, right, bottom = json_values.as_numbers(box, "box", 4).tolist()
    return None if left == right or top == bottom else json_values.box_from_corners((left, top, right, bottom), box)


def _kind(fields: dict[str, Any], kinds: dict[int | str, str]) -> str:
    """Return the category of a box, its id where no list names it; "" for a box without."""
    if isinstance(fields.get("name"), str):
        return str(fields["name"])
    if fields.get("category_id") is None:
        return ""
    key = parse_id(fields, "category_id")
    return kinds.get(key, f"category_id {json_values.quote(key)}")


def load(path: Path) -> Any:
    """Return the content of a JSON file; ValueError that names it."""
    try:
        return json_values.load_json(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def names_by_id(content: Any, name: str, place: str) -> dict[int | str, str]:
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
    return _columns_of(rows[0]) is not None


def _are_corners(head: bytes, keypoints: Sequence[str]) -> bool:
    """Return whether x1, y1, x2, y2 or x_min, ... are the only such columns, and no keypoints of a model."""
    first = head.split(b"\n", 1)[0].lower()
    numbered = b"x2" in first and b"x3" not in first and not {"1", "2"} <= {*keypoints}
    return numbered or (b"x_max" in first and not {"min", "max"} <= {*keypoints})


def _columns_of(header: Sequence[str]) -> tuple[str, ...] | None:
    """Return the titles, in small letters, of the columns of a box."""
    titles = {title.lower() for title in header}
    return next((columns for columns in (_OWN, *_CORNERS, *_SIZES) if {*columns} <= titles), None)


def _of_table(path: Path, errors: RowErrors, unused: Counter[str]) -> list[Box]:
    separator, rows = read_table(path, _fits)
    header = [title.lower() for title in rows[0][1]]
    titles = _columns_of(header)
    assert titles is not None
    edges = [header.index(title) for title in titles] if titles != _OWN else []
    if {"class", "name"} <= {*header}:  # Ultralytics' number and name of a category
        header = ["class_id" if title == "class" else "category" if title == "name" else title for title in header]
    columns = csv_columns.subject_columns(str(path), header, edges)
    boxes: list[Box] = []
    for line, cells in rows[1:]:
        with errors.row(f"line {line}"):
            check_length(cells, len(header))
            fields = csv_columns.subject_fields(columns, cells, separator)
            if edges:
                values = parse_cells(cells, edges, separator)
                fields["box"] = _from_corner(values, titles in _SIZES)
            unused["crowds"] += fields.get("crowd", False)
            if "box" in fields and not fields.get("crowd"):
                boxes.append((fields["image"], fields.get("category", ""), fields["box"]))
    return boxes


def _from_corner(values: Sequence[float], sizes: bool) -> Edges:
    left, top, right, bottom = values
    edges = (left, top, left + right, top + bottom) if sizes else (left, top, right, bottom)
    return json_values.box_from_corners(edges, list(values))


def _text_files(folder: Path) -> list[Path]:
    for place in (folder, folder / "labels"):
        files = sorted(file for file in place.glob("*.txt") if file.name != "classes.txt")
        if files:
            return files
    return []


def _is_yolo(folder: Path) -> bool:
    """Return whether a folder holds text files, and is none of labels."""
    if not _text_files(folder):
        return False
    try:
        recognize(folder)
    except ValueError:
        return True
    return False


def _of_yolo(folder: Path, images: Path | None, errors: RowErrors) -> list[Box]:
    """Return the boxes of text files NAME.txt of class, center and size as fractions of the image NAME."""
    boxes: list[Box] = []
    for file in _text_files(folder):
        with errors.row(file.name):
            name = image_of_stem(images or folder, file.stem)
            height, width = image_size((images or folder) / name, ReadOptions("apply"))
            for number, line in read_lines(file):
                cells = [parse_float(cell) for cell in line.split()]
                if len(cells) not in (5, 6):
                    raise ValueError(
                        f"line {number} has {len(cells)} numbers; a box has class, x, y, width, height, perhaps a score"
                    )
                x, y, w, h = (value * length for value, length in zip(cells[1:5], (width, height) * 2, strict=True))
                edges = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
                boxes.append((name, "", json_values.box_from_corners(edges, line)))
    return boxes
