"""CVAT's own XML, "CVAT for images 1.1": skeletons, or single points whose label is the name of a keypoint."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from softpoint.labels.formats.parsing import csv_columns, json_values
from softpoint.labels.formats.parsing.path_search import folders_near
from softpoint.labels.formats.parsing.rows import parse_float
from softpoint.labels.formats.parsing.shapes import labels_of_images, size_of
from softpoint.labels.formats.parsing.xml_file import begins_with, number_of, parse_xml
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import OCCLUDED, UNLABELED, VISIBLE, Labels

DESCRIPTION = "an XML file of CVAT (CVAT for images 1.1), or the folder that holds it as annotations.xml"

_FILE = "annotations.xml"
_MISSING = (float("nan"), float("nan"), UNLABELED)


def recognize(path: Path, head: bytes) -> bool:
    """Return whether this is an XML file of CVAT's annotations, or a folder with one.

    >>> recognize(Path(), b"<?xml version='1.0'?><annotations><version>"), recognize(Path(), b"<annotation>")
    (True, False)
    """
    if not head:
        return (path / _FILE).is_file()
    return begins_with(head, b"<annotations>")


def read(path: Path, errors: RowErrors, images: Path | None = None) -> Labels:
    """Return a subject per skeleton, and one per group of single points in an image, coordinates as written.

    A point that is `outside` is unlabeled, an `occluded` one occluded. The only box of a `group_id` is that of its only
    subject. Other shapes are counted in `unused`; an image without shapes is unlabeled. Images are searched below
    `images`, or near the file.
    Raises ValueError for tracks of a video, whose frames have no names, and for a file without points.
    """
    file = path / _FILE if path.is_dir() else path
    root = parse_xml(file)
    if root.find("track") is not None:
        raise ValueError(f"{file} holds tracks of a video, whose frames it does not name; export CVAT for images 1.1")
    entries = root.findall("image")
    unused: Counter[str] = Counter()
    contents: dict[str, tuple[str, list[csv_columns.Row]]] = {}
    for number, entry in enumerate(entries, 1):
        place = f"image number {number}"
        with errors.row(place) as row:
            row.image = json_values.as_text(entry.get("name"), "name")
            contents[place] = row.image, _rows(entry, place, unused)
    folders = [images] if images else folders_near(file)
    return labels_of_images(file, folders, contents, errors, unused, "label skeletons or points")


def _rows(entry: Element, place: str, unused: Counter[str]) -> list[csv_columns.Row]:
    """Return the subjects of an image, or an unlabeled one."""
    size = tuple(int(number_of(entry, key, "0")) for key in ("height", "width"))
    known = size_of(*size)
    boxes = _boxes(entry, unused)
    rows: list[csv_columns.Row] = []
    loose: dict[str, dict[str, csv_columns.State]] = {}
    for shape in entry:
        if shape.tag == "skeleton":
            points: dict[str, csv_columns.State] = {}
            for point in shape.findall("points"):
                _add_points(points, point)
            fields = known | {"category": _label(shape)}
            rows.append(
                (
                    f"{place}, {shape.tag} {len(rows) + 1}",
                    _with_box(fields, boxes.get(shape.get("group_id", ""))),
                    points,
                )
            )
        elif shape.tag == "points":
            _add_points(loose.setdefault(shape.get("group_id") or "", {}), shape)
        elif not (shape.tag == "box" and shape.get("group_id")):
            unused["shapes that are neither skeletons nor points"] += 1
    for group, points in loose.items():
        rows.append((f"{place}, group {group}" if group else place, _with_box(dict(known), boxes.get(group)), points))
    return rows or [(place, known, {})]


def _boxes(entry: Element, unused: Counter[str]) -> dict[str, Element]:
    """Return the box of each group of an image that has one box and one subject."""
    boxes = [box for box in entry.findall("box") if box.get("group_id")]
    counts = Counter(box.get("group_id") for box in boxes)
    subjects = Counter(skeleton.get("group_id") for skeleton in entry.findall("skeleton"))
    subjects.update({points.get("group_id") for points in entry.findall("points")})
    used = {box.get("group_id", ""): box for box in boxes}
    used = {group: box for group, box in used.items() if counts[group] == subjects[group] == 1}
    unused["boxes whose group_id is not that of one box and one subject"] += len(boxes) - len(used)
    return used


def _with_box(fields: dict[str, Any], box: Element | None) -> dict[str, Any]:
    if box is not None:
        edges = [number_of(box, key) for key in ("xtl", "ytl", "xbr", "ybr")]
        fields["box"] = json_values.box_from_corners(edges, edges)
    return fields


def _add_points(points: dict[str, csv_columns.State], shape: Element) -> None:
    """Add the point of a shape, named by its label, or its points, which are numbered then."""
    label, pairs = _label(shape), (shape.get("points") or "").split(";")
    for number, pair in enumerate(pairs, 1):
        name = label if len(pairs) == 1 else f"{label}_{number}"
        if name in points:
            raise ValueError(f"it has two points {name}; give the points of each subject a group_id of their own")
        if shape.get("outside") == "1":
            points[name] = _MISSING
            continue
        x, comma, y = pair.partition(",")
        if not comma:
            raise ValueError(f"{name} is at {pair[:40]!r}, not at x,y")
        state = OCCLUDED if shape.get("occluded") == "1" else VISIBLE
        points[name] = csv_columns.checked_point(name, parse_float(x), parse_float(y), state)


def _label(shape: Element) -> str:
    return json_values.as_text(shape.get("label"), "label").strip()
