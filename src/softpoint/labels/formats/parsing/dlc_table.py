"""DeepLabCut's tables in any file format: a header of several levels, then one row per image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from softpoint.labels.formats.parsing.rows import UniqueRows, check_size, half_point
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import UNLABELED, VISIBLE, Labels, Subject
from softpoint.labels.skeleton import Skeleton, infer_flip_pairs
from softpoint.paths import normalize_path

COORDS = ("x", "y", "likelihood")

_UNIQUE = "single"  # in place of an individual, above the points that an image has once


class Column(NamedTuple):
    """The header of one column."""

    number: int  # in the file, for messages
    individual: str  # "" in a table without individuals
    bodypart: str
    coord: str  # one of COORDS

    @property
    def keypoint(self) -> str:
        """The keypoint's name for messages."""
        return f"{self.bodypart} of {self.individual}" if self.individual else self.bodypart


# Its place, the parts of its image's path, and a number per column, or what is wrong with it.
Row = tuple[str, Sequence[str], Sequence[float] | ValueError]


def labels_of(path: Path, columns: Sequence[Column], rows: Sequence[Row], errors: RowErrors) -> Labels:
    """Return the labels of a table: a subject for each individual with a labeled point in a row, or an unlabeled one.

    Columns of likelihood are the confidences of the points.

    Raises ValueError for a header that repeats or lacks a coordinate, or names no keypoint.
    """
    columns, keypoints = _of_one_animal(columns), dict[tuple[str, str], dict[str, int]]()
    likelihood = {
        (column.individual, column.bodypart): i for i, column in enumerate(columns) if column.coord == COORDS[2]
    }
    for i, column in enumerate(columns):
        if column.coord == COORDS[2]:
            continue
        coords = keypoints.setdefault((column.individual, column.bodypart), {})
        if (first := coords.setdefault(column.coord, i)) != i:
            raise ValueError(
                f"{path} columns {columns[first].number} and {column.number} both hold {column.coord} of"
                f" {column.keypoint}; remove one of the two"
            )
    if not keypoints:
        raise ValueError(f"{path}: its header names no keypoint; it needs columns x and y for at least one")
    individuals, names = (tuple(dict.fromkeys(level)) for level in zip(*keypoints, strict=True))
    check_size(str(path), len(names), len(individuals))
    position = np.full((len(individuals), len(names), 3), len(columns))  # of the column of NaN, appended below
    for (individual, bodypart), coords in keypoints.items():
        if not {"x", "y"} <= set(coords):
            keypoint = columns[next(iter(coords.values()))].keypoint
            raise ValueError(f"{path}: keypoint {keypoint} has columns {', '.join(coords)}; it needs both x and y")
        position[individuals.index(individual), names.index(bodypart)] = (
            *(coords["x"], coords["y"]),
            likelihood.get((individual, bodypart), len(columns)),
        )
    none = [np.nan] * len(columns)
    values = np.array([none if isinstance(row[2], ValueError) else row[2] for row in rows], np.float64)
    table = np.pad(values.reshape(len(rows), len(columns)), ((0, 0), (0, 1)), constant_values=np.nan)[
        :, position
    ]  # (N, I, K, 3)
    points, scores = table[..., :2], table[..., 2]
    missing = np.isnan(points)
    invalid = (missing[..., 0] != missing[..., 1]) | np.isinf(points).any(-1)
    visibility = np.where(missing.any(-1), UNLABELED, VISIBLE)
    labeled: Any = visibility.any(-1).tolist()
    unusable = set(np.flatnonzero(invalid.any((1, 2))).tolist())
    unique = UniqueRows()
    subjects: list[Subject] = []
    for i, (place, parts, numbers) in enumerate(rows):
        image = image_of(parts)
        with errors.row(place, image) as row:
            if isinstance(numbers, ValueError):
                raise numbers
            if not all(parts):
                raise ValueError(f"image path {list(parts)} has an empty part; write the whole path")
            for j, k in np.argwhere(invalid[i]).tolist() if i in unusable else []:
                name = f"{names[k]} of {individuals[j]}" if individuals[j] else names[k]
                row.refuse(name, half_point(name, *points[i, j, k]))
                points[i, j, k], visibility[i, j, k] = np.nan, UNLABELED
                labeled[i][j] = bool(visibility[i, j].any())
            unique.add(normalize_path(image), place, image)
            subjects += [
                Subject(
                    *(image, f"{place}, {name}" if name else place, points[i, j], visibility[i, j]),
                    name=name,
                    confidence=scores[i, j] if likelihood else None,
                )
                for j, name in enumerate(individuals)
                if labeled[i][j]
            ] or [Subject(image, place, points[i, 0], visibility[i, 0])]
    return Labels(
        str(path), str(_image_root(path, subjects)), Skeleton(names, infer_flip_pairs(names)), tuple(subjects)
    )


def image_of(parts: Sequence[str]) -> str:
    """Return the path of an image from its parts.

    >>> image_of(["labeled-data", "v", "img1.png"]), image_of(["v\\\\img1.png"])
    ('labeled-data/v/img1.png', 'v/img1.png')
    """
    return "/".join(parts).replace("\\", "/")  # DeepLabCut on Windows writes backslashes


def _of_one_animal(columns: Sequence[Column]) -> Sequence[Column]:
    """Return the columns with the points of "single", DeepLabCut's unique ones, given to the only animal beside it."""
    parts: dict[str, set[str]] = {}
    for column in columns:
        parts.setdefault(column.individual, set()).add(column.bodypart)
    if len(parts) != 2 or _UNIQUE not in parts or set.intersection(*parts.values()):
        return columns
    (animal,) = parts.keys() - {_UNIQUE}
    return [column._replace(individual=animal) for column in columns]


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
