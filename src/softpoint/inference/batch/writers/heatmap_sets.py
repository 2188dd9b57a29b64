"""heatmap_sets.json: the connected parts of each point's heatmap set, as polygons."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.inference.batch.predictions import PIXEL_DECIMALS, Predictions, Row
from softpoint.inference.batch.writers.coco import write_lines
from softpoint.inference.heatmap_sets import SetPart

PartsIn = Callable[[np.ndarray, tuple[int, int], np.ndarray | None], list[list[SetPart]]]


def write_sets(path: Path, predictions: Predictions, level: float, parts_in: PartsIn) -> None:
    """Write the `level`, and an entry for each subject with the parts of each keypoint's set, the largest first.

    A part has its `area` in px^2, its `outline` and its `holes`, polygons of corners [x, y] in pixels of the image;
    their corners are those of cells. `parts_in` is `Predictor.parts_in`. A keypoint without a point, or for which the
    model has no set, has no part.
    """
    subjects = (_subject(row, predictions, parts_in) for row in predictions.rows() if row.has_subject)
    write_lines(path, f'{{"level": {level:g}, "subjects": [\n', subjects, "]}\n")


def _subject(row: Row, predictions: Predictions, parts_in: PartsIn) -> dict[str, Any]:
    assert row.sets is not None
    place = {"image": predictions.name(row.number)} if predictions.images else {"frame": row.number}
    found = np.isfinite(row.keypoints).all(1)
    parts = zip(predictions.skeleton.names, found, parts_in(row.sets, row.size, row.region), strict=True)
    return {**place, "subject": row.subject, "keypoints": {n: [*map(_part, p)] if f else [] for n, f, p in parts}}


def _part(part: SetPart) -> dict[str, Any]:
    holes = [_corners(hole) for hole in part.holes]
    return {"area": round(part.area, PIXEL_DECIMALS), "outline": _corners(part.outline), "holes": holes}


def _corners(outline: np.ndarray) -> list[list[float]]:
    corners: list[list[float]] = (outline.round(PIXEL_DECIMALS) + 0.0).tolist()  # no -0
    return corners
