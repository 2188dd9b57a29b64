"""Found and labeled subjects as a CSV, from which all numbers can be computed again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from softpoint.data.scenes import Scene
from softpoint.evaluation.subjects.results import SubjectResults
from softpoint.labels.csv_io import exact, read_rows, write_rows
from softpoint.labels.skeleton import Skeleton
from softpoint.types import FoundSubjects

SUBJECTS = "subjects.csv"

_FIXED = ("kind", "image", "group", "height", "width", "complete", "left", "top", "right", "bottom", "score")
# Columns of each keypoint; a labeled subject has the first three, a found one all but the third.
_PARTS = ("x", "y", "visibility", "confidence", "xx", "xy", "yy")
_STATES = ("absent", "occluded", "visible")  # further columns where the network predicts them
_KINDS = ("image", "labeled", "found", "crowd")


def write_subjects(path: Path, results: SubjectResults) -> None:
    """Write a CSV that `read_subjects` returns to the last bit: a row for each image, and for each box in it."""
    parts = _PARTS + (() if results.found.visibility is None else _STATES)
    header = [*_FIXED, *(f"{name}_{part}" for name in results.skeleton.names for part in parts)]
    rows = [row for image in range(len(results)) for row in _rows(results, image, len(parts))]
    write_rows(path, [header, *rows])


def _rows(results: SubjectResults, image: int, parts: int) -> Iterator[list[str]]:
    """The rows of an image, every cell that has no meaning being empty."""
    scene, found, K = results.scene(image), results.found_subjects(image), len(results.skeleton)
    blank = np.full((K, parts), np.nan)
    name, none = results.images[image], [np.nan] * 5
    fixed = [results.groups[image], *map(str, scene.size), str(int(scene.complete))]
    yield ["image", name, *fixed, *_cells(none, blank)]
    for points, states, box in zip(scene.keypoints, scene.visibility, scene.boxes, strict=True):
        cells = blank.copy()
        cells[:, :2], cells[:, 2] = points, states
        yield ["labeled", name, *[""] * 4, *_cells([*box, np.nan], cells)]
    for i, box in enumerate(found.boxes):
        cells = blank.copy()
        cells[:, :2], cells[:, 3] = found.keypoints[i], found.confidence[i]
        cells[:, 4:7] = found.covariance[i][:, [0, 0, 1], [0, 1, 1]]
        if found.visibility is not None:
            cells[:, 7:] = found.visibility[i]
        yield ["found", name, *[""] * 4, *_cells([*box, found.score[i]], cells)]
    for box in scene.crowds:
        yield ["crowd", name, *[""] * 4, *_cells([*box, np.nan], blank)]


def _cells(box: list[float], points: np.ndarray) -> list[str]:
    return [*map(exact, box), *map(exact, points.ravel())]


def read_subjects(path: Path) -> SubjectResults:
    """Return the results that `write_subjects` wrote; flip pairs and edges of the skeleton are not in the file.

    Raises FileNotFoundError and ValueError for any other file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no found subjects at {path}; softpoint evaluate writes subjects.csv")
    (_, header), *rows = read_rows(path) or [(0, [])]
    parts = _PARTS + _STATES if header and header[-1].endswith("_visible") else _PARTS
    names = tuple(column.removesuffix("_x") for column in header[len(_FIXED) :: len(parts)])
    if header != [*_FIXED, *(f"{name}_{part}" for name in names for part in parts)]:
        raise ValueError(f"{path} is no subjects.csv of softpoint evaluate: its columns differ")
    heads: dict[str, list[str]] = {}
    numbers: dict[str, dict[str, list[np.ndarray]]] = {}
    for line, cells in rows:
        if len(cells) != len(header) or cells[0] not in _KINDS or (cells[0] != "image" and cells[1] not in heads):
            raise ValueError(f"{path} line {line}: it has another form than its header, or is of no image above it")
        kind, image = cells[:2]
        try:
            values = np.array([float(cell or "nan") for cell in cells[6:]])
            if kind == "image":
                heads[image] = [cells[2], *(str(int(cell)) for cell in cells[3:6])]
        except ValueError as error:
            raise ValueError(f"{path} line {line}: {error}") from error
        numbers.setdefault(image, {name: [] for name in _KINDS})[kind].append(values)
    K, width = len(names), len(parts)
    scenes = ((image, *_read(head, numbers[image], K, width)) for image, head in heads.items())
    return SubjectResults.of(scenes, Skeleton(names))


def _read(head: list[str], rows: dict[str, list[np.ndarray]], K: int, width: int) -> tuple[Scene, FoundSubjects]:
    labeled, found, crowds = (np.array(rows[kind]).reshape(-1, 5 + K * width) for kind in _KINDS[1:])
    truth, points = (part[:, 5:].reshape(-1, K, width) for part in (labeled, found))
    group, (height, width_px, complete) = head[0], map(int, head[1:])
    pixels, states = np.empty((0, 0, 3), np.uint8), truth[..., 2].astype(np.int64)
    boxes = labeled[:, :4]
    scene = Scene(pixels, (height, width_px), truth[..., :2], states, boxes, crowds[:, :4], group, bool(complete))
    covariance = points[..., [4, 5, 5, 6]].reshape(-1, K, 2, 2)
    learned = points[..., 7:] if width > len(_PARTS) else None
    return scene, FoundSubjects(points[..., :2], points[..., 3], covariance, found[:, 4], found[:, :4], learned)
