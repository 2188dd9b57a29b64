"""LabelMe: a folder with one JSON file of shapes per image; a point's label is the name of its keypoint."""

from __future__ import annotations

import posixpath
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

from softpoint.labels.formats.parsing import csv_columns, json_values
from softpoint.labels.formats.parsing.rows import read_head
from softpoint.labels.formats.parsing.shapes import Shapes, labels_of_images, size_of
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import OCCLUDED, VISIBLE, Labels
from softpoint.paths import normalize_path
from softpoint.progress import track

DESCRIPTION = "a folder with one JSON per image that has shapes and imagePath (LabelMe)"

_TRIED = 5  # files that `recognize` opens: the first ones may be of something else


def recognize(path: Path, head: bytes) -> bool:
    """Return whether this is a folder in which one of the first JSON files has shapes of an image."""
    try:
        heads = map(read_head, _files(path)[:_TRIED] if path.is_dir() else [])
        return any(b'"shapes"' in head and (b'"imagePath"' in head or b'"flags"' in head) for head in heads)
    except OSError:
        return False


def read(path: Path, errors: RowErrors, images: Path | None = None) -> Labels:
    """Return the points of every file, one subject per `group_id`, coordinates as written.

    The only rectangle of its `group_id` is a subject's box, and the rectangle's label its category; without `group_id`,
    the only one that encloses the points of a file's only subject. A point with the flag `occluded` is occluded. Other
    shapes are counted in `unused`. `imagePath` starts from the JSON file; its end counts, below
    `images` or the folder. A file without shapes is an unlabeled image.
    Raises ValueError for a folder without points.
    """
    if not path.is_dir():
        raise ValueError(f"{path} is a file; name the folder of the JSON files")
    unused: Counter[str] = Counter()
    contents: dict[str, tuple[str, list[csv_columns.Row]]] = {}  # without the images that the files may hold
    for file in track(_files(path), "reading labels"):
        place = file.relative_to(path).as_posix()
        with errors.row(place) as row:
            content = json_values.load_json(file)
            if not isinstance(content, dict) or "shapes" not in content:
                unused["JSON files without shapes"] += 1
                continue
            image = json_values.as_text(content.get("imagePath"), "imagePath")
            row.image = normalize_path(posixpath.join(posixpath.dirname(place), image.replace("\\", "/")))
            contents[place] = row.image, _rows(place, content, unused)
    return labels_of_images(
        *(path, [images or path], contents, errors, unused, "label keypoints by points of their name"),
        check=lambda place, image: _check_own(Path(path, place), image),
    )


def _files(folder: Path) -> list[Path]:
    files = (file for file in folder.rglob("*.json") if not file.name.startswith("."))
    return sorted(file for file in files if file.is_file())


def _check_own(file: Path, image: str) -> None:
    """Raise ValueError where a JSON file names another image than the one that lies beside it."""
    name = PurePosixPath(image)
    if name.stem != file.stem and (own := file.with_suffix(name.suffix)).is_file():
        raise ValueError(
            f"its imagePath is {image}, but {own.name} lies beside it; correct imagePath, or rename the file"
        )


def _rows(place: str, content: dict[str, Any], unused: Counter[str]) -> list[csv_columns.Row]:
    """Return the subjects of a file, still without its image, or an unlabeled one."""
    shapes = Shapes()
    for shape in json_values.as_list(content["shapes"], "shapes"):
        _add_shape(shapes, json_values.as_object(shape), unused)
    return shapes.rows(place, size_of(content.get("imageHeight"), content.get("imageWidth")), unused)


def _add_shape(shapes: Shapes, shape: dict[str, Any], unused: Counter[str]) -> None:
    number, label = shape.get("group_id"), json_values.as_text(shape.get("label"), "label").strip()
    if number is not None and not isinstance(number, int | str):
        raise ValueError(f"group_id is {json_values.quote(number)}; it must be a whole number")
    kind = shape.get("shape_type", "point")
    if kind not in ("point", "rectangle"):
        unused["shapes that are neither points nor rectangles"] += 1
        return
    corners = [
        json_values.as_numbers(xy, f"points of {label}", 2).tolist()
        for xy in json_values.as_list(shape.get("points"), "points")
    ]
    if not corners:  # LabelMe keeps the shape of a point that was deleted
        unused["shapes without a point"] += 1
        return
    if len(corners) != 1 if kind == "point" else len(corners) < 2:
        raise ValueError(f"{kind} {label} has {len(corners)} pairs of coordinates; draw it again")
    if kind == "rectangle":
        columns = list(zip(*corners, strict=True))
        edges = (*map(min, columns), *map(max, columns))
        shapes.add_box(number, label, json_values.box_from_corners(edges, shape["points"]))
        return
    (x, y), flags = corners[0], shape.get("flags")
    occluded = isinstance(flags, dict) and flags.get("occluded")
    shapes.add_point(number, label, x, y, OCCLUDED if occluded else VISIBLE)
