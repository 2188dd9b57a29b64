"""dlib's XML of images, boxes and parts, as imglab writes it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

from softpoint.labels.formats.parsing import csv_columns, json_values
from softpoint.labels.formats.parsing.known_skeletons import face_pairs
from softpoint.labels.formats.parsing.path_search import folders_near
from softpoint.labels.formats.parsing.shapes import labels_of_images, size_of
from softpoint.labels.formats.parsing.xml_file import begins_with, number_of, parse_xml
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import VISIBLE, Labels

DESCRIPTION = "an XML file of dlib's imglab: images with boxes, and parts in these"


def recognize(path: Path, head: bytes) -> bool:
    """Return whether the file is an XML data set of dlib.

    >>> recognize(Path(), b"<?xml version='1.0'?><?xml-stylesheet href='x.xsl'?><dataset><images>")
    True
    """
    return begins_with(head, b"<dataset>") and b"<image" in head


def read(path: Path, errors: RowErrors, images: Path | None = None) -> Labels:
    """Return a subject per box, its parts being the keypoints in alphabetical order as in dlib.

    Coordinates are as written, and the box ends behind its last pixel. Boxes that are to be ignored are counted in
    `unused`; an image without boxes is unlabeled. 68 parts have the mirror pairs of iBUG's face.
    Raises ValueError for a file without parts.
    """
    unused: Counter[str] = Counter()
    contents: dict[str, tuple[str, list[csv_columns.Row]]] = {}
    for number, entry in enumerate(parse_xml(path).iterfind("images/image"), 1):
        place = f"image number {number}"
        with errors.row(place) as row:
            row.image = image = json_values.as_text(entry.get("file"), "file").replace("\\", "/")
            contents[place] = image, _rows(entry, place, unused)
    parts = {name for _, rows in contents.values() for *_, points in rows for name in points}
    names = sorted(parts, key=lambda name: (len(name), name) if name.isdigit() else (0, name))
    folders = [images] if images else folders_near(path)
    labels = labels_of_images(path, folders, contents, errors, unused, "give its boxes parts", names)
    skeleton = labels.skeleton
    return replace(labels, skeleton=replace(skeleton, flip_pairs=skeleton.flip_pairs or face_pairs(names)))


def _rows(entry: Element, place: str, unused: Counter[str]) -> list[csv_columns.Row]:
    """Return the subjects of an image, or an unlabeled one."""
    known = size_of(*(int(number_of(entry, key, "0")) for key in ("height", "width")))
    rows: list[csv_columns.Row] = []
    for number, box in enumerate(entry.iterfind("box"), 1):
        if box.get("ignore") == "1":
            unused["boxes to be ignored"] += 1
            continue
        left, top, width, height = (number_of(box, key) for key in ("left", "top", "width", "height"))
        edges = (left, top, left + width, top + height)
        fields = known | {"box": json_values.box_from_corners(edges, edges)}
        if label := (box.findtext("label") or "").strip():
            fields["category"] = json_values.as_text(label, "label")
        points: dict[str, csv_columns.State] = {}
        for part in box.iterfind("part"):
            name = json_values.as_text(part.get("name"), "name")
            if name in points:
                raise ValueError(f"box {number} has two parts {name}; remove one of the two")
            points[name] = csv_columns.checked_point(name, number_of(part, "x"), number_of(part, "y"), VISIBLE)
        rows.append((f"{place} box {number}", fields, points))
    return rows or [(place, known, {})]
