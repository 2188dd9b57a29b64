"""300-W's .pts: a text file of numbered points beside each image."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from softpoint.labels.formats.parsing import json_values
from softpoint.labels.formats.parsing.known_skeletons import numbered, skeleton_of
from softpoint.labels.formats.parsing.path_search import image_of_stem
from softpoint.labels.formats.parsing.rows import (
    check_count,
    half_point,
    parse_float,
    read_head,
    read_lines,
    usual_count,
    visibility_of,
)
from softpoint.labels.row_errors import Row, RowErrors
from softpoint.labels.schema import Labels, Subject
from softpoint.progress import track

DESCRIPTION = "a folder with NAME.pts beside each image NAME (300-W, iBUG)"

_TRIED = 5  # files that `recognize` opens


def recognize(path: Path, head: bytes) -> bool:
    """Return whether this is a folder in which one of the first files *.pts states its number of points."""
    try:
        return path.is_dir() and any(b"n_points" in read_head(file) for file in _files(path)[:_TRIED])
    except OSError:
        return False


def read(path: Path, errors: RowErrors, images: Path | None = None) -> Labels:
    """Return one subject per file, its keypoints called keypoint_1 and so on; 68 have the mirror pairs of a face.

    The first pixel of an image is 1 in these files, so 1 is subtracted. The image of x.pts is x with any suffix of an
    image, beside the file or in the same place below `images`.
    Raises ValueError for a folder without points.
    """
    folder = images or path
    found: list[tuple[str, str, np.ndarray]] = []
    for file in track(_files(path), "reading labels"):
        place = file.relative_to(path)
        with errors.row(place.as_posix()) as row:
            row.image = (place.parent / image_of_stem(folder / place.parent, file.stem)).as_posix()
            found.append((place.as_posix(), json_values.as_text(row.image, "image"), _points(file, row)))
    missing = f"{path}: none of its files *.pts has points; name the folder that has them"
    count = usual_count((len(points) for *_, points in found), errors, missing)
    subjects = []
    for place_, image, points in found:
        with errors.row(place_, image):
            check_count(len(points), count)
            subjects.append(Subject(image, place_, points, visibility_of(points), written=points + 1))
    return Labels(str(path), str(folder), skeleton_of(numbered(count)), tuple(subjects))


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*.pts") if not file.name.startswith(".") and file.is_file())


def _points(file: Path, row: Row) -> np.ndarray:
    """Return float64 (K, 2), counted from 0."""
    lines = read_lines(file)
    inside = [(number, line.split()) for number, line in lines if not line.lower().startswith(("version", "n_points"))]
    inside = [(number, cells) for number, cells in inside if cells not in (["{"], ["}"])]
    stated = next((line.partition(":")[2].strip() for _, line in lines if line.lower().startswith("n_points")), "")
    if not inside or str(len(inside)) != stated:
        raise ValueError(f"it has {len(inside)} points, but n_points is {stated[:20] or 'missing'}; copy it again")
    count = json_values.check_keypoint_count(len(inside))
    names = {name: [k] for k, name in enumerate(numbered(count))}
    return row.usable(_numbers, inside, lambda: names, (0, ["nan", "nan"])) - 1


def _numbers(inside: list[tuple[int, list[str]]]) -> np.ndarray:
    """Return float64 (K, 2) as written."""
    points = np.empty((len(inside), 2))
    for k, (number, cells) in enumerate(inside):
        if len(cells) != 2:
            raise ValueError(f"line {number} has {len(cells)} numbers; a point has x and y")
        points[k] = [parse_float(cell) for cell in cells]
        if not np.isfinite(points[k]).all() and not np.isnan(points[k]).all():
            raise half_point(f"keypoint_{k + 1}", *points[k].tolist())
    return points
