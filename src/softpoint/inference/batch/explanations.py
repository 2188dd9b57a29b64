"""Pages that explain predictions of a job: those of the least confidence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import nsmallest
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.inference.batch.predictions import Predictions, Row
from softpoint.inference.batch.sources import without_suffixes
from softpoint.inference.explanation import explain, explanation_pages
from softpoint.inference.predictor import NetworkInput, Predictor
from softpoint.viz import write_image


def write_explanations(
    folder: Path,
    predictor: Predictor,
    predictions: Predictions,
    rows: Sequence[Row],
    read: Callable[[int], np.ndarray],
    batch_size: int,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> None:
    """Write pages on some rows of the predictions; `read` returns the image (H, W, 3) of a number.

    A page is FOLDER/NAME.png of its image, or NAME.subject1.png where boxes give subjects; further ones for many
    keypoints are NAME.page2.png. Where an image's own name is that of another page, "_" follows.
    """

    def inputs() -> Iterator[NetworkInput]:
        for row in rows:
            yield predictor.preprocess(read(row.number), row.region)

    names = None if predictions.images is None else without_suffixes(predictions.images)
    taken: set[str] = set()
    for row, explanation in progress(zip(rows, explain(predictor, inputs(), batch_size), strict=True)):
        stem = f"{row.number:06d}" if names is None else names[row.number]
        stem += f".subject{row.subject}" * predictions.has_boxes
        title = predictions.name(row.number) + f", subject {row.subject}" * predictions.has_boxes
        for page, image in enumerate(explanation_pages(explanation, predictions.skeleton, title), 1):
            name = free_name(f"{stem}{f'.page{page}' * (page > 1)}", taken)
            write_image(folder / f"{name}.png", image)


def free_name(name: str, taken: set[str]) -> str:
    """Return a name, followed by "_" as often as it takes to be none of `taken`, to which it is added.

    >>> taken = {"a"}
    >>> [free_name(name, taken) for name in ("a.page2", "b", "a.page2", "a.page2")]
    ['a.page2', 'b', 'a.page2_', 'a.page2__']
    """
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def least_confident(rows: Iterable[Row], count: int) -> list[Row]:
    """Return the `count` rows of least mean confidence, in their order."""
    seen = (row for row in rows if row.has_subject)
    chosen = nsmallest(count, seen, key=lambda row: float(row.confidence.mean()))
    return sorted(chosen, key=lambda row: (row.number, row.subject))
