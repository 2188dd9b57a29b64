"""VGG Image Annotator (VIA 1, 2 and 3): its projects, its JSON and its CSV of regions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from softpoint.labels.formats.parsing import csv_columns, json_values
from softpoint.labels.formats.parsing.known_skeletons import numbered
from softpoint.labels.formats.parsing.path_search import folders_near
from softpoint.labels.formats.parsing.rows import check_length, read_table, sniff
from softpoint.labels.formats.parsing.shapes import Shapes, labels_of_images
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import OCCLUDED, VISIBLE, Labels

DESCRIPTION = "a JSON or CSV of regions from VIA, the VGG Image Annotator"

_COLUMNS = ("region_shape_attributes", "region_attributes")
_PROJECT = "_via_img_metadata"
_PROJECT_3 = {"project", "file", "view", "metadata", "attribute"}
# Shapes of VIA 3 by their number: names and coordinates as in VIA 2.
_SHAPES_3 = {1: ("point", "cx", "cy"), 2: ("rect", "x", "y", "width", "height")}
_MEDIA_3 = {"4": "video", "8": "audio"}  # files of VIA 3 that are no images, by their type
# Attributes of a region that name its keypoint and its subject, see `_known`; the first that occurs is taken.
_NAMES = ("keypoint", "landmark", "bodypart", "joint", "part", "point", "label", "name", "type", "class")
_SUBJECTS = ("subject", "individual", "animal", "person", "instance", "object", "group", "track", "id")
_HIDDEN = "occluded"
_APART = "give the points of each subject a region attribute subject of their own"

_Entry = dict[str, Any]


class _Region(NamedTuple):
    shape: _Entry
    attributes: _Entry


def recognize(path: Path, head: bytes) -> bool:
    """Return whether the file has VIA's regions.

    >>> recognize(Path(), b'{"a.png12": {"filename": "a.png", "regions": [], "file_attributes": {}}}')
    True
    """
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"{"):
        entry = b'"regions"' in head and b'"filename"' in head
        project = b'"_via_' in head or (b'"project"' in head and b'"VGG Image Annotator' in head)
        return project or (entry and (b'"file_attributes"' in head or b'"shape_attributes"' in head))
    return sniff(head, _fits) is not None


def _fits(rows: list[list[str]]) -> bool:
    return {*_COLUMNS} <= {*rows[0]}


def read(path: Path, errors: RowErrors, images: Path | None = None) -> Labels:
    """Return the points of every image, coordinates as written.

    The region attribute keypoint, label, name or the like names a point, or else the only one that differs between the
    points of an image; the attribute subject, id or the like names its subject, and a true attribute occluded makes it
    occluded. Where no point of the file has an attribute with text, the points are numbered, and each subject must have
    as many. The only rectangle of a subject, or the only one about the points of an image with one subject, is its
    box. Other regions, and texts of other attributes, are counted in `unused`.
    Raises ValueError for a file without points, and for several attributes that may name them.
    """
    unused: Counter[str] = Counter()
    entries = dict(_of_csv(path, errors) if _is_csv(path) else _of_json(path, errors, unused))
    found = [*entries.values()]
    regions = [region for _, own in found for region in own]
    points = [region for region in regions if region.shape.get("name") == "point"]
    unused["regions that are neither points nor rectangles"] = sum(
        region.shape.get("name") not in ("point", "rect") for region in regions
    )
    name = _name_attribute(path, [[r.attributes for r in own if r.shape.get("name") == "point"] for _, own in found])
    texts = Counter(key for r in points for key, value in r.attributes.items() if key != name and _text(value))
    subject = _known(texts, _SUBJECTS)
    if max(_sizes(entries.values(), subject), default=0) < 2:  # it numbers regions, not subjects
        subject = None
    used = (subject, _known(texts, [_HIDDEN]))
    unused.update({f"texts of region attribute {key}": count for key, count in texts.items() if key not in used})
    contents: dict[str, tuple[str, list[csv_columns.Row]]] = {}
    for place, (image, own) in entries.items():
        with errors.row(place, image):
            contents[place] = image, _rows(place, own, name, subject, unused)
    counts = Counter(len(points) for _, rows in contents.values() for *_, points in rows if points)
    usual = 0 if name else max(counts, key=counts.__getitem__, default=0)  # points of a subject; 0 for any number

    def check(place: str, image: str) -> None:
        for *_, own in contents[place][1]:
            if usual and own and len(own) != usual:
                raise ValueError(
                    f"it has {len(own)} points without names, but others have {usual}; name each by a region attribute"
                )

    folders = [images] if images else folders_near(path)
    return labels_of_images(path, folders, contents, errors, unused, "mark keypoints as points", check=check)


def _is_csv(path: Path) -> bool:
    with path.open("rb") as file:
        return not file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")


def _of_json(path: Path, errors: RowErrors, unused: Counter[str]) -> Iterator[tuple[str, tuple[str, list[_Region]]]]:
    """Yield place, image and regions of each image of a project, or of what it exports."""
    try:
        content = json_values.as_object(json_values.load_json(path))
        if _PROJECT not in content and {*content} >= _PROJECT_3:
            content = _of_version_3(content, unused)
        content = json_values.as_object(content.get(_PROJECT, content))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    for number, entry in enumerate(content.values(), 1):
        place = f"image number {number}"
        with errors.row(place) as row:
            fields = json_values.as_object(entry)
            row.image = image = json_values.as_text(fields.get("filename"), "filename").replace("\\", "/")
            found = fields.get("regions") or []
            found = [*found.values()] if isinstance(found, dict) else json_values.as_list(found, "regions")
            regions = [region for region in found if region is not None]
            unused["regions without content, as of deleted ones"] += len(found) - len(regions)
            yield place, (image, [_region(json_values.as_object(region)) for region in regions])


def _of_version_3(content: _Entry, unused: Counter[str]) -> dict[str, _Entry]:
    """Return the entries of VIA 2 for a project of VIA 3; other shapes have no name.

    Views of videos and sounds are left out with their regions, and counted in `unused`.
    """
    parts = {key: json_values.as_object(content[key]) for key in _PROJECT_3}
    files = {key: json_values.as_object(entry) for key, entry in parts["file"].items()}
    attributes = {key: json_values.as_object(entry) for key, entry in parts["attribute"].items()}
    entries: dict[str, _Entry] = {}
    for key, view in parts["view"].items():
        shown = json_values.as_list(json_values.as_object(view).get("fid_list"), "fid_list")
        if len(shown) == 1:  # several are compared
            file = files.get(str(shown[0]), {})
            medium = _MEDIA_3.get(str(file.get("type")), "")
            entries[key] = {"filename": file.get("fname"), "regions": [], "medium": medium}
    for mark in map(json_values.as_object, parts["metadata"].values()):
        if (own := entries.get(str(mark.get("vid")))) is None:
            raise ValueError(f"its region of view {json_values.quote(mark.get('vid'))} is of no image; export it again")
        number, *values = [*json_values.as_list(mark.get("xy"), "xy"), None]
        name, *keys = _SHAPES_3.get(number, ("",)) if isinstance(number, int) and not mark.get("z") else ("",)
        chosen = json_values.as_object(mark.get("av") or {})
        texts = {_title(attributes, key): _option(attributes, key, value) for key, value in chosen.items()}
        shape = {"name": name, **dict(zip(keys, values, strict=False))}
        own["regions"].append({"shape_attributes": shape, "region_attributes": texts})
    unused.update(f"{entry['medium']} views" for entry in entries.values() if entry["medium"])
    return {key: entry for key, entry in entries.items() if not entry["medium"]}


def _title(attributes: Mapping[str, _Entry], key: str) -> str:
    return str(attributes.get(key, {}).get("aname", key))


def _option(attributes: Mapping[str, _Entry], key: str, value: Any) -> Any:
    """Return the text of the option that a value of VIA 3 is the number of, or else the value."""
    options = attributes.get(key, {}).get("options")
    return options.get(str(value), value) if isinstance(options, dict) else value


def _region(fields: _Entry) -> _Region:
    return _Region(*(json_values.as_object(fields.get(key) or {}) for key in ("shape_attributes", "region_attributes")))


def _of_csv(path: Path, errors: RowErrors) -> Iterator[tuple[str, tuple[str, list[_Region]]]]:
    """Yield the same of a CSV, which has a line for each region, and one for an image without."""
    _, rows = read_table(path, _fits)
    header = [title.lstrip("#").strip() for title in rows[0][1]] if rows else []
    if missing := [title for title in ("filename", *_COLUMNS) if title not in header]:
        raise ValueError(f"{path} has no column {missing[0]}; export the annotations of VIA as CSV")
    columns = [header.index(title) for title in ("filename", *_COLUMNS)]
    found: dict[str, tuple[str, list[_Region]]] = {}
    for line, cells in rows[1:]:
        with errors.row(f"line {line}") as row:
            check_length(cells, len(header))
            image, *texts = (cells[column] for column in columns)
            row.image = image = json_values.as_text(image, "filename").replace("\\", "/")
            region = _Region(*(json_values.as_object(json_values.parse_json(text or "{}")) for text in texts))
            own = found.setdefault(image, (f"line {line}", []))[1]
            own += [region] if region.shape else []
    yield from ((place, (image, own)) for image, (place, own) in found.items())


def _name_attribute(path: Path, images: Sequence[Sequence[_Entry]]) -> str | None:
    """Return the attribute that names the points, of the attributes of the points of each image; None for none.

    One that is equal for all points of every image names something else, unless there is no other.
    """
    texts = [{(key, text) for own in points for key, v in own.items() if (text := _text(v))} for points in images]
    counts = [Counter(key for key, _ in own if not _known([key], [_HIDDEN])) for own in texts]
    keys = list(dict.fromkeys(key for points in images for own in points for key in own if any(c[key] for c in counts)))
    telling = [key for key in keys if any(count[key] > 1 for count in counts)]
    if known := _known(telling, _NAMES) or _known(keys, _NAMES):
        return known
    others = [key for key in telling or keys if not _known([key], _SUBJECTS)]
    if len(others) > 1:
        raise ValueError(
            f"{path}: the region attributes {', '.join(others)} may name its points; call the one that does keypoint"
        )
    return next(iter(others or keys), None) if others or len(keys) == 1 else None


def _known(keys: Iterable[str], names: Sequence[str]) -> str | None:
    """Return the key that is the first of the names, in any case, with spaces or lines, or followed by id or name.

    >>> _known(["Quality", "Body Part"], _NAMES), _known(["person_id"], _SUBJECTS), _known(["Quality"], _NAMES)
    ('Body Part', 'person_id', None)
    """
    plain = {re.sub(r"(?<=.)(id|name)\Z", "", re.sub(r"[\W_]", "", key.lower())): key for key in reversed([*keys])}
    return next((plain[name] for name in names if name in plain), None)


def _sizes(entries: Iterable[tuple[str, list[_Region]]], subject: str | None) -> Iterator[int]:
    """Yield the number of points of each subject."""
    for _, regions in entries:
        owners = (_text(r.attributes.get(subject or "")) for r in regions if r.shape.get("name") == "point")
        yield from Counter(owners).values()


def _text(value: Any) -> str:
    """Return the text of an attribute; of a list of boxes to check the only one that is."""
    if isinstance(value, dict):
        checked = [key for key, state in value.items() if state]
        return str(checked[0]) if len(checked) == 1 else ""
    text = str(value).strip() if isinstance(value, str | int | float) else ""
    return "" if text == "undefined" else text


def _rows(
    place: str, regions: Sequence[_Region], name: str | None, subject: str | None, unused: Counter[str]
) -> list[csv_columns.Row]:
    shapes, counts = Shapes(_APART), Counter[str | None]()
    for number, (shape, attributes) in enumerate(regions, 1):
        kind, owner = shape.get("name"), _text(attributes.get(subject or "")) or None
        if kind == "point":
            counts[owner] += 1
            label = _text(attributes.get(name)) if name else numbered(counts[owner])[-1]
            if not label:
                raise ValueError(f"region {number} has no {name}; name its keypoint")
            x, y = (json_values.as_number(shape.get(key), key) for key in ("cx", "cy"))
            hidden = _text(attributes.get(_HIDDEN)).lower() in ("1", "true", "yes")
            shapes.add_point(owner, json_values.as_text(label, name or ""), x, y, OCCLUDED if hidden else VISIBLE)
        elif kind == "rect":
            left, top, *lengths = (json_values.as_number(shape.get(key), key) for key in ("x", "y", "width", "height"))
            edges = (left, top, left + lengths[0], top + lengths[1])
            shapes.add_box(owner, _text(attributes.get(name or "")), json_values.box_from_corners(edges, edges))
    return shapes.rows(place, {}, unused)
