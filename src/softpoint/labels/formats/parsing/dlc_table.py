"""DeepLabCut's tables in any file format: a header of several levels, then one row per image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from softpoint.labels.formats.parsing.rows import UniqueRows, check_size, unlabeled_points, visibility_of, whole_point
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton, infer_flip_pairs
from softpoint.paths import normalize_path

COORDS = ("x", "y", "likelihood")

Row = TypeVar("Row")


class Column(NamedTuple):
    """The header of one column."""

    position: int
    individual: str  # "" in a table without individuals
    bodypart: str
    coord: str  # one of COORDS

    @property
    def keypoint(self) -> str:
        """The keypoint's name for messages."""
        return f"{self.bodypart} of {self.individual}" if self.individual else self.bodypart


# For each individual the index of each keypoint, and its columns of x and y.
_Individuals = dict[str, list[tuple[int, int, int]]]


def read_table(
    path: Path,
    columns: Sequence[Column],
    rows: Iterable[tuple[str, Row]],
    parse: Callable[[Row], tuple[Sequence[str], Sequence[float]]],
    errors: RowErrors,
) -> Labels:
    """Return the labels in rows, given as place and content.

    `parse` returns the parts of the image's path and a number for each column; a ValueError is an error of the row.
    """
    names, individuals = _layout(str(path), columns)
    unique = UniqueRows()
    subjects: list[Subject] = []
    for place, row in rows:
        with errors.row(place):
            parts, values = parse(row)
            if not all(parts):
                raise ValueError(f"image path {list(parts)} has an empty part; write the whole path")
            image = "/".join(parts).replace("\\", "/")  # DeepLabCut on Windows writes backslashes
            in_row = _row_subjects(names, individuals, image, place, values)
            unique.add(normalize_path(image), place, image)
            subjects += in_row
    skeleton = Skeleton(names, infer_flip_pairs(names))
    return Labels(str(path), str(_image_root(path, subjects)), skeleton, tuple(subjects))


def _layout(source: str, columns: Sequence[Column]) -> tuple[tuple[str, ...], _Individuals]:
    """Return the keypoints and their columns; raise ValueError for a repeated or missing coordinate, or no keypoint."""
    keypoints: dict[tuple[str, str], dict[str, Column]] = {}
    for column in columns:
        coords = keypoints.setdefault((column.individual, column.bodypart), {})
        if coords.setdefault(column.coord, column) != column:
            raise ValueError(
                f"{source} columns {coords[column.coord].position + 1} and {column.position + 1} both hold"
                f" {column.coord} of {column.keypoint}; remove one of the two"
            )
    if not keypoints:
        raise ValueError(f"{source}: its header names no keypoint; it needs columns x and y for at least one")
    names = tuple(dict.fromkeys(bodypart for _, bodypart in keypoints))
    check_size(source, len(names), len({individual for individual, _ in keypoints}))
    order = {name: index for index, name in enumerate(names)}
    individuals: _Individuals = {}
    for (individual, bodypart), coords in keypoints.items():
        if not {"x", "y"} <= set(coords):
            keypoint = next(iter(coords.values())).keypoint
            raise ValueError(f"{source}: keypoint {keypoint} has columns {', '.join(coords)}; it needs both x and y")
        position = (order[bodypart], coords["x"].position, coords["y"].position)
        individuals.setdefault(individual, []).append(position)
    return names, individuals


def _row_subjects(
    names: Sequence[str], individuals: _Individuals, image: str, place: str, values: Sequence[float]
) -> list[Subject]:
    """Return a subject for each individual with a labeled point in a row, or an unlabeled one if there is none.

    `values` has a number for each column of the table. Raises ValueError for half a point.
    """
    subjects = []
    for individual, points in individuals.items():
        keypoints = np.full((len(names), 2), np.nan)
        for k, x, y in points:
            name = f"{names[k]} of {individual}" if individual else names[k]
            keypoints[k] = whole_point(name, values[x], values[y])
        if (visibility := visibility_of(keypoints)).any():
            label = f"{place}, {individual}" if individual else place
            subjects.append(Subject(image, label, keypoints, visibility, name=individual))
    return subjects or [Subject(image, place, *unlabeled_points(len(names)))]


def _image_root(path: Path, subjects: Sequence[Subject]) -> Path:
    """Return the folder that image paths are relative to.

    It is the folder of the file, or one above it if the paths repeat the names of the folders down to the file.
    """
    folder = path.parent.absolute()
    parts = normalize_path(subjects[0].image).split("/")[:-1] if subjects else []
    if not parts or list(folder.parts[-len(parts) :]) != parts:
        return path.parent
    try:
        beside = (path.parent / subjects[0].image).is_file()
    except OSError:  # a name that is too long
        beside = False
    return path.parent if beside else folder.parents[len(parts) - 1]
