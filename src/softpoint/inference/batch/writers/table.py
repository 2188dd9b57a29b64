"""predictions.csv, one row per subject, as softpoint's own reader of labels has it; and the tables beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from softpoint.inference.batch.predictions import PIXEL_DECIMALS, PROBABILITY_DECIMALS, Predictions, Row
from softpoint.labels.csv_io import write_rows
from softpoint.labels.plane import Plane
from softpoint.layers.calibration import ConfidenceParts
from softpoint.runtime import ellipse_axes


def write(path: Path, predictions: Predictions) -> None:
    """Write image, or frame and time in seconds, then NAME_x, NAME_y, NAME_confidence; NaN is an empty cell.

    With boxes, the edges of the subject's box come first, and the score of one that was found; then its track,
    from 1, where subjects are followed. Networks that learned visibility add NAME_absent and NAME_occluded, two
    probabilities.
    """
    write_rows(path, _lines(predictions))


def write_confidence(path: Path, predictions: Predictions) -> None:
    """Write one row per keypoint of each subject: its confidence and the parts of it (`ConfidenceParts`)."""

    def lines() -> Iterator[list[str]]:
        yield [
            "image" if predictions.images else "frame",
            "subject",
            "keypoint",
            "confidence",
            *ConfidenceParts._fields,
        ]
        for row in predictions.rows():
            name = predictions.name(row.number) if predictions.images else str(row.number)
            values = np.stack([row.confidence, *(row.parts or {}).values()], axis=1)
            for keypoint, numbers in zip(predictions.skeleton.names, values.tolist(), strict=True):
                yield [name, str(row.subject), keypoint, *_cells(numbers, PROBABILITY_DECIMALS)]

    write_rows(path, lines())


def write_regions(path: Path, predictions: Predictions, radii: Sequence[float]) -> None:
    """Write one row per keypoint of each subject: the ellipse about its point of this radius, in pixels and degrees."""

    def lines() -> Iterator[list[str]]:
        ellipse = ("x", "y", "half_axis_long", "half_axis_short", "angle")
        yield ["image" if predictions.images else "frame", "subject", "keypoint", *ellipse]
        for row in predictions.rows():
            name = predictions.name(row.number) if predictions.images else str(row.number)
            axes = ellipse_axes(row.covariance, np.array(radii)) + 0 * row.keypoints[:, :1]  # none about no point
            values = np.concatenate([row.keypoints, axes], axis=1)
            for keypoint, numbers in zip(predictions.skeleton.names, values.tolist(), strict=True):
                yield [name, str(row.subject), keypoint, *_cells(numbers, PIXEL_DECIMALS)]

    write_rows(path, lines())


def write_millimeters(path: Path, predictions: Predictions, plane: Plane) -> None:
    """Write one row per keypoint of each subject: its place in the plane, and the deviations expected there.

    `x` and `y` are in millimeters, `sd_x` and `sd_y` the standard deviations and `correlation` that of the two errors,
    by the covariance that the network predicts.
    """

    def lines() -> Iterator[list[str]]:
        place = ("x", "y", "sd_x", "sd_y", "correlation")
        yield ["image" if predictions.images else "frame", "subject", "keypoint", "confidence", *place]
        for row in predictions.rows():
            plane.check_covers([row.size] if any(row.size) else [])
            name = predictions.name(row.number) if predictions.images else str(row.number)
            points, covariance = plane.with_covariance(row.keypoints, row.covariance)
            deviations = np.sqrt(covariance[:, [0, 1], [0, 1]])
            correlation = covariance[:, :1, 1] / deviations.prod(1, keepdims=True)
            values = np.concatenate([row.confidence[:, None], points, deviations, correlation], axis=1)
            values[np.isnan(points[:, 0]), 3:] = np.nan  # none about no point
            for keypoint, numbers in zip(predictions.skeleton.names, values.tolist(), strict=True):
                yield [name, str(row.subject), keypoint, *_cells(numbers, PROBABILITY_DECIMALS)]

    write_rows(path, lines())


def _lines(predictions: Predictions) -> Iterator[list[str]]:
    first = ["frame", "time"] if predictions.images is None else ["image"]
    edges = [f"box_{edge}" for edge in ("left", "top", "right", "bottom")] if predictions.has_boxes else []
    edges += ["score"] * predictions.has_scores + ["track"] * (predictions.tracks is not None)
    parts = ("x", "y", "confidence", *(("absent", "occluded") if predictions.has_visibility else ()))
    yield [*first, *edges, *(f"{name}_{part}" for name in predictions.skeleton.names for part in parts)]
    for row in predictions.rows():
        cells = [predictions.name(row.number)] if predictions.images else [str(row.number), *_cells([row.time], 6)]
        box = _cells(row.box.tolist(), 3) if predictions.has_boxes else []
        score = _cells([row.score], PROBABILITY_DECIMALS) if predictions.has_scores else []
        track = [str(row.track or "")] if predictions.tracks is not None else []
        yield [*cells, *box, *score, *track, *_keypoint_cells(row)]


def _keypoint_cells(row: Row) -> Iterator[str]:
    states = [[]] * len(row.keypoints) if row.visibility is None else row.visibility[:, :2].astype(np.float64).tolist()
    for point, confidence, state in zip(row.keypoints.tolist(), row.confidence.tolist(), states, strict=True):
        yield from _cells(point, PIXEL_DECIMALS)
        yield from _cells([confidence, *state], PROBABILITY_DECIMALS)


def _cells(values: Iterable[float], decimals: int) -> Iterator[str]:
    return ("" if value != value else f"{value:.{decimals}f}" for value in values)
