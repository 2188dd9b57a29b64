"""What DeepLabCut's tables say, whatever file they are in: a header of several levels, one row an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from softpoint.labels.csv_io import bounded, whole_point
from softpoint.labels.schema import UNLABELED, VISIBLE, Subject
from softpoint.labels.skeleton import Skeleton, infer_flip_pairs
from softpoint.paths import normalize_path

COORDS = ("x", "y", "likelihood")


class Column(NamedTuple):
    """What the header says of one column of coordinates."""

    position: int
    individual: str  # "" where the table tells none apart
    bodypart: str
    coord: str  # one of COORDS


class Layout(NamedTuple):
    """The keypoints, and where each individual has them: keypoint index, then the columns of x and y."""

    names: tuple[str, ...]
    individuals: dict[str, list[tuple[int, int, int]]]

    @property
    def skeleton(self) -> Skeleton:
        """The keypoints, with the flip pairs that their names suggest."""
        return Skeleton(self.names, infer_flip_pairs(self.names))


def layout(source: str, columns: Sequence[Column]) -> Layout:
    """How to read rows; ValueError where a coordinate stands twice or is missing, or there is none at all."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for column in columns:
        coords = found.setdefault((column.individual, column.bodypart), {})
        if coords.setdefault(column.coord, column.position) != column.position:
            raise ValueError(
                f"{source} column {column.position + 1}: {column.coord} of {_of(column)} stands twice; remove one"
                " of the columns"
            )
    if not found:
        raise ValueError(f"{source}: its header names no keypoint; it needs columns x and y for at least one")
    names = tuple(dict.fromkeys(bodypart for _, bodypart in found))
    bounded(source, len(names), len({individual for individual, _ in found}))
    order = {name: index for index, name in enumerate(names)}
    individuals: dict[str, list[tuple[int, int, int]]] = {}
    for (individual, bodypart), coords in found.items():
        if not {"x", "y"} <= set(coords):
            whole = f"{bodypart} of {individual}" if individual else bodypart
            raise ValueError(f"{source}: keypoint {whole} has columns {', '.join(coords)}; it needs both x and y")
        individuals.setdefault(individual, []).append((order[bodypart], coords["x"], coords["y"]))
    return Layout(names, individuals)


def _of(column: Column) -> str:
    return f"{column.bodypart} of {column.individual}" if column.individual else column.bodypart


def subjects(layout: Layout, image: str, place: str, values: Sequence[float]) -> list[Subject]:
    """Each individual that has a point in this row; one without any where nothing is labeled.

    `values` has a number for each column of the table. Raises ValueError for half a point.
    """
    found = []
    for individual, points in layout.individuals.items():
        keypoints = np.full((len(layout.names), 2), np.nan)
        for k, x, y in points:
            name = f"{layout.names[k]} of {individual}" if individual else layout.names[k]
            keypoints[k] = whole_point(name, values[x], values[y])
        known = ~np.isnan(keypoints[:, 0])
        if known.any():
            where = f"{place}, {individual}" if individual else place
            found.append(_subject(image, where, keypoints, individual))
    return found or [_subject(image, place, np.full((len(layout.names), 2), np.nan), "")]


def _subject(image: str, place: str, keypoints: np.ndarray, name: str) -> Subject:
    visibility = np.where(np.isnan(keypoints[:, 0]), UNLABELED, VISIBLE).astype(np.int64)
    return Subject(image, place, keypoints, visibility, name=name)


def joined(parts: Sequence[str]) -> str:
    """The path of an image from the cells that hold it; ValueError where one is empty."""
    if not all(parts):
        raise ValueError(f"its image path {list(parts)} has an empty part; write the whole path")
    return "/".join(parts).replace("\\", "/")  # DeepLabCut on Windows writes backslashes


def start_of_paths(path: Path, found: Sequence[Subject]) -> Path:
    """The folder that paths start from: the file's own, or one above it where they repeat the names down to it."""
    parent = path.parent.absolute()
    parts = normalize_path(found[0].image).split("/")[:-1] if found else []
    repeated = bool(parts) and list(parent.parts[-len(parts) :]) == parts
    return parent.parents[len(parts) - 1] if repeated and not _is_file(path.parent / found[0].image) else path.parent


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


class Once:
    """Refuses an image that an earlier row has: which of the two is right, nobody can tell.

    >>> once = Once()
    >>> once.see("v/a.png", "line 4"); once.see("./v//a.png", "line 9")
    Traceback (most recent call last):
    ValueError: labels ./v//a.png, which line 4 does too; remove one of them
    """

    def __init__(self) -> None:
        self.first: dict[str, str] = {}

    def see(self, image: str, place: str) -> None:
        """ValueError that names the earlier row."""
        if (earlier := self.first.setdefault(normalize_path(image), place)) != place:
            raise ValueError(f"labels {image}, which {earlier} does too; remove one of them")
