"""Images in, answers out: batch by batch, in constant memory."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from softpoint.inference.batch.prefetch import prefetch

if TYPE_CHECKING:
    from softpoint.inference.predictor import Predictor

Answer = dict[str, np.ndarray]

View = tuple[np.ndarray, np.ndarray]  # what the network sees (h, w, 3), and the matrix (3, 3) to there


class Shot(NamedTuple):
    """An image or frame that is to be predicted."""

    number: int  # in its source, from 0
    name: str
    time: float  # in seconds after the first frame; NaN for images
    image: np.ndarray | None  # uint8 (H, W, 3) RGB; None where it cannot be read
    boxes: np.ndarray | None  # (N, 4) of the subjects to look at; None for the whole image
    broken: str = ""  # why there is no image
    size: tuple[int, int] = (0, 0)  # height and width; 0 where it cannot be read


def answered(
    predictor: Predictor, shots: Iterable[Shot], batch_size: int, keep: bool = False
) -> Generator[tuple[Shot, list[Answer]], None, None]:
    """Each shot with the answers for its subjects: one for a whole image, none for one that is broken.

    A thread reads and resizes while the network runs: one batch with the network, one that waits, one in the making,
    which makes 3 * `batch_size` images in memory. These are views of the network's size; `keep` the images, too.
    Raises ValueError for a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1")
    for batch in prefetch(_batches(predictor, shots, batch_size, keep)):
        views = [view for _, seen in batch for view in seen]
        answers = _answers(predictor, views, batch_size)
        for shot, seen in batch:
            yield shot, [next(answers) for _ in seen]


def _batches(
    predictor: Predictor, shots: Iterable[Shot], batch_size: int, keep: bool
) -> Iterator[list[tuple[Shot, list[View]]]]:
    """Shots with the views of their subjects, in lists of `batch_size` views or more, or of as many shots."""
    batch: list[tuple[Shot, list[View]]] = []
    for shot in shots:
        boxes = [None] if shot.boxes is None else shot.boxes
        seen = [] if shot.image is None else [predictor.look(shot.image, box) for box in boxes]
        size = shot.size if shot.image is None else shot.image.shape[:2]
        batch.append((shot._replace(image=shot.image if keep else None, size=size), seen))
        if max(len(batch), sum(len(views) for _, views in batch)) >= batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


def _answers(predictor: Predictor, views: list[View], batch_size: int) -> Iterator[Answer]:
    """The answer for each view; of an image with many subjects not all at once."""
    for start in range(0, len(views), batch_size):
        images, matrices = (np.stack(part) for part in zip(*views[start : start + batch_size], strict=True))
        found = predictor.answer(images, matrices)
        yield from ({name: value[i] for name, value in found.items()} for i in range(len(images)))
