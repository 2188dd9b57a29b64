"""Label Studio's exports JSON and JSON-MIN: tasks with points and boxes in percent of the image."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from softpoint.images.listing import SUFFIXES
from softpoint.labels.formats.parsing import csv_columns, json_values
from softpoint.labels.formats.parsing.path_search import folders_near, tail_below
from softpoint.labels.formats.parsing.shapes import Shapes, labels_of_images, size_of
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import VISIBLE, Labels

DESCRIPTION = "a JSON list of tasks that Label Studio exported (JSON or JSON-MIN)"

# Keys of an annotation in the one, of a task in the other.
_KEYS = ((b'"result"', b'"data"'), (b'"annotation_id"', b'"annotator"'), (b'"keypointlabels"', b'"original_width"'))
_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")  # precedes the name of an uploaded file
_APART = "draw a rectangle about each subject, and its points inside of it or as relations of it"

_Entry = dict[str, Any]


def recognize(path: Path, head: bytes) -> bool:
    """Return whether the file begins with a list of tasks.

    >>> recognize(Path(), b'[{"annotations": [{"result": []}], "data": {}}]'), recognize(Path(), b'[{"id": 1}]')
    (True, False)
    """
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
    return start and any(all(key in head for key in keys) for keys in _KEYS)


def read(path: Path, errors: RowErrors, images: Path | None = None) -> Labels:
    """Return the points of every task, coordinates being percent * size / 100 as in Label Studio's own exports.

    A rectangle with the points that were drawn in it (parentID) or that have a relation to it is a subject; without
    these all points of a task are one. Of several annotations of a task the only one marked as ground truth counts; a
    task with others is an error. Cancelled annotations and predictions are counted in `unused`. A task without
    annotation is left out, one with an empty annotation is an unlabeled image. Images are found by the end of their
    path or URL, without the prefix of an upload.
    Raises ValueError for a file without points.
    """
    try:
        tasks = json_values.as_list(json_values.load_json(path), "the file")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    unused: Counter[str] = Counter()
    contents: dict[str, tuple[str, list[csv_columns.Row]]] = {}
    for number, entry in enumerate(tasks, 1):
        with errors.row(f"task number {number}") as row:
            task = json_values.as_object(entry)
            key = task.get("id")
            place = f"task {key}" if type(key) is int and abs(key) < 10**18 else f"task number {number}"
            results = _results(task, unused)
            if place in contents:
                raise ValueError(f"an earlier {place} has labels too; keep one annotation of a task")
            if results is not None:
                row.image = _image(task, results)
                contents[place] = row.image, _rows(place, results, unused)
    folders = [images] if images else folders_near(path)
    contents = _without_upload_prefix(folders, contents)
    return labels_of_images(path, folders, contents, errors, unused, "label keypoints with <KeyPointLabels>")


def _results(task: _Entry, unused: Counter[str]) -> list[_Entry] | None:
    """Return the shapes of a task; None for one that nobody has annotated."""
    if "data" not in task:  # JSON-MIN: lists of shapes beside the values of the task
        lists = [value for value in task.values() if isinstance(value, list)]
        return [entry for entries in lists for entry in entries if isinstance(entry, dict)]
    unused["predictions"] += len(task["predictions"]) if isinstance(task.get("predictions"), list) else 0
    entries = json_values.as_list(task.get("annotations", task.get("completions")), "annotations")
    annotations = [json_values.as_object(entry) for entry in entries]
    kept = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
    unused["cancelled annotations"] += len(annotations) - len(kept)
    if len(kept) > 1:
        truths = [annotation for annotation in kept if annotation.get("ground_truth")]
        if len(truths) != 1:
            raise ValueError(f"it has {len(kept)} annotations; keep one, or mark one as ground truth")
        kept = truths
    return (
        [json_values.as_object(r) for a in kept for r in json_values.as_list(a.get("result"), "result")]
        if kept
        else None
    )


def _image(task: _Entry, results: Sequence[_Entry]) -> str:
    """Return the path of a task's image: the value that its shapes refer to, or the first with the suffix of one."""
    data = json_values.as_object(task.get("data", task))
    referred = [data.get(str(result.get("to_name"))) for result in results]
    values = [value for value in [*referred, *data.values()] if isinstance(value, str)]
    paths = [path for value in values if PurePosixPath(path := _path(value)).suffix.lower() in SUFFIXES]
    return json_values.as_text(next(iter(paths), None), "the path of the image in data")


def _path(value: str) -> str:
    """Return the path in a path or URL; that of a file in local storage is its query.

    >>> _path("/data/local-files/?d=mice/a%20b.png"), _path("https://host/mice/a.png?token=1"), _path("C:/a#1.png")
    ('mice/a b.png', 'https://host/mice/a.png', 'C:/a#1.png')
    """
    if "/?d=" in value:
        return unquote(value.partition("/?d=")[2].partition("&")[0])
    if not re.match(r"\w\w+://|/data/", value):
        return value.replace("\\", "/")
    try:
        parts = urlsplit(value)
    except ValueError:
        return value
    return unquote(f"{parts.scheme}://{parts.netloc}{parts.path}" if parts.scheme else parts.path)


def _without_upload_prefix(
    folders: Sequence[Path], contents: dict[str, tuple[str, list[csv_columns.Row]]]
) -> dict[str, tuple[str, list[csv_columns.Row]]]:
    """Return the contents with the names that the files had before they were uploaded, where only these exist."""
    shorter = {}
    for place, (image, rows) in contents.items():
        path = PurePosixPath(image)
        original = (path.parent / _UPLOAD.sub("", path.name, count=1)).as_posix()
        known = original == image or any(tail_below(folder, path.name) for folder in folders)
        shorter[place] = (image if known else original), rows
    return shorter


def _rows(place: str, results: list[_Entry], unused: Counter[str]) -> list[csv_columns.Row]:
    shapes, subjects = Shapes(_APART), _subjects(results)
    kinds = {_id(r): kind for r in results if (kind := r.get("type")) in ("keypoint", "rectangle")}
    # With <Labels> a shape occurs twice: first without its label, then with it.
    labeled = {_id(r) for r in results if r.get("id") is not None and _label(_value(r)) is not None}
    size: dict[str, Any] = {}
    for result in results:
        value = _value(result)
        label, kind = _label(value), _kind(value) or kinds.get(_id(result))
        if kind is None or (label is None and (kind == "keypoint" or _id(result) in labeled)):
            shape = "x" in value or "points" in value
            unused["shapes that are neither points nor rectangles"] += (
                shape and result.get("type") not in kinds.values()
            )
            continue
        if "x" not in value:
            unused["shapes without a position"] += 1
            continue
        if result.get("image_rotation") or value.get("rotation"):
            raise ValueError("a shape or the image is rotated; turn it back in Label Studio")
        scale = [json_values.as_number(result.get(f"original_{k}"), f"original_{k}") for k in ("width", "height")]
        size = size_of(*(int(length) for length in reversed(scale)))
        _add(shapes, subjects.get(_id(result)), str(label or ""), kind, value, scale)
    return shapes.rows(place, size, unused)


def _add(shapes: Shapes, subject: int | None, label: str, kind: str, value: _Entry, scale: Sequence[float]) -> None:
    keys = ("x", "y", "width", "height")[: 2 if kind == "keypoint" else 4]
    x, y, *lengths = (
        json_values.as_number(value.get(key), key) * length / 100
        for key, length in zip(keys, (*scale, *scale), strict=False)
    )
    if kind == "keypoint":
        shapes.add_point(subject, json_values.as_text(label, "the label of a point").strip(), x, y, VISIBLE)
    else:
        edges = (x, y, x + lengths[0], y + lengths[1])
        shapes.add_box(subject, label, json_values.box_from_corners(edges, edges))


def _kind(value: _Entry) -> str | None:
    return next((kind for kind in ("keypoint", "rectangle") if f"{kind}labels" in value), None)


def _value(result: _Entry) -> _Entry:
    return result["value"] if isinstance(result.get("value"), dict) else result


def _label(value: _Entry) -> Any:
    """Return the first label of a shape; None without any."""
    labels = next((value[key] for key in ("keypointlabels", "rectanglelabels", "labels") if value.get(key)), None)
    return labels[0] if isinstance(labels, list) else labels


def _id(result: _Entry, key: str = "id") -> str:
    if type(value := result.get(key)) not in (str, int, type(None)):
        raise ValueError(f"{key} {json_values.quote(value)} is no id of a shape")
    return str(value)


def _subjects(results: Sequence[_Entry]) -> dict[str, int]:
    """Return the number of the subject of each shape that has a parent, children or relations."""
    links = [(_id(r), _id(r, "parentID")) for r in results if r.get("parentID")]
    links += [(_id(r, "from_id"), _id(r, "to_id")) for r in results if r.get("type") == "relation"]
    first: dict[str, str] = {}  # another shape of the same subject, itself for one of them

    def root(shape: str) -> str:
        while (other := first.setdefault(shape, shape)) != shape:
            first[shape] = first[other]
            shape = other
        return shape

    for a, b in links:
        first[root(a)] = root(b)
    numbers: dict[str, int] = {}
    return {shape: numbers.setdefault(root(shape), len(numbers) + 1) for shape in list(first)}
