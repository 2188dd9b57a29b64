"""predictions.csv: one row a subject, for spreadsheets and for `softpoint` itself to read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from softpoint.inference.batch.writers.rows import Answers, Row
from softpoint.labels.csv_io import write_rows


def write(path: Path, answers: Answers) -> None:
    """Writes image, or frame and time in seconds, then NAME_x, NAME_y, NAME_confidence; empty cells for nothing.

    With boxes, the edges of the subject's box come before. Where the network learned visibility, each keypoint also
    has NAME_absent and NAME_occluded, two probabilities.
    """
    write_rows(path, _lines(answers))


def _lines(answers: Answers) -> Iterator[list[str]]:
    first = ["frame", "time"] if answers.images is None else ["image"]
    edges = [f"box_{edge}" for edge in ("left", "top", "right", "bottom")] if answers.boxes else []
    parts = ("x", "y", "confidence", *(("absent", "occluded") if answers.visibility else ()))
    yield [*first, *edges, *(f"{name}_{part}" for name in answers.skeleton.names for part in parts)]
    for row in answers.rows():
        place = [answers.name(row.number)] if answers.images else [str(row.number), *_texts([row.time], 6)]
        yield [*place, *(_texts(row.box.tolist(), 3) if answers.boxes else []), *_points(row)]


def _points(row: Row) -> Iterator[str]:
    unseen = [] if row.visibility is None else row.visibility[:, :2].astype(np.float64).tolist()
    for k, (point, confidence) in enumerate(zip(row.keypoints.tolist(), row.confidence.tolist(), strict=True)):
        yield from _texts(point, 3)
        yield from _texts([confidence], 4)
        yield from _texts(unseen[k] if unseen else [], 4)


def _texts(values: Iterable[float], decimals: int) -> Iterator[str]:
    return ("" if value != value else f"{value:.{decimals}f}" for value in values)
