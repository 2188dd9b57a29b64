"""Streams of images and their predictions: batch by batch, in constant memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from softpoint.images.costs import MAX_PIXELS
from softpoint.images.video import Video
from softpoint.inference.predictor import NetworkInput, Predictor
from softpoint.inference.subjects import SubjectFinder, distinct_poses, stacked_subjects
from softpoint.types import FoundSubjects

PredictedArrays = dict[str, np.ndarray]
Progress = Callable[..., Iterable[Any]]  # called with items, and options of `softpoint.progress.track`
T = TypeVar("T")

_END = object()


class Item(NamedTuple):
    """An image or frame that is to be predicted."""

    number: int  # in its source, from 0
    name: str
    time: float  # in seconds after the first frame; NaN for images
    image: np.ndarray | None  # uint8 (H, W, C); None where it cannot be read
    boxes: np.ndarray | None  # (N, 4) of the subjects to predict; None for the whole image
    error: str = ""  # why there is no image
    size: tuple[int, int] = (0, 0)  # height and width; 0 where it cannot be read
    scores: np.ndarray | None = None  # (N,) of boxes that were found: the probability that there is a subject


def predict_items(
    predictor: Predictor,
    items: Iterable[Item],
    batch_size: int,
    keep: bool = False,
    finder: SubjectFinder | None = None,
) -> Generator[tuple[Item, list[PredictedArrays]], None, None]:
    """Yield each item with the predictions for its subjects: one for a whole image, none for one that cannot be read.

    A thread reads and resizes while the network runs: one batch is with the network, one waits and one is prepared, so
    that memory holds 3 * `batch_size` inputs of the network; with `keep` the images, too. A `finder` finds the subjects
    in the images first, and each is kept once.
    Raises ValueError for a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1")
    items = items if finder is None else found_items(finder, items, batch_size)
    waiting: deque[tuple[Item, int]] = deque()
    predictions: deque[PredictedArrays] = deque()
    for items_and_counts, inputs in prefetch(_batches(predictor, items, batch_size, keep)):
        waiting.extend(items_and_counts)
        predictions.extend(predictor.predict(inputs, batch_size))
        while waiting and waiting[0][1] <= len(predictions):
            item, count = waiting.popleft()
            own = [predictions.popleft() for _ in range(count)]
            yield (item, own) if finder is None else _distinct(item, own)


def found_items(finder: SubjectFinder, items: Iterable[Item], batch_size: int) -> Iterator[Item]:
    """Yield the items with the boxes of the subjects that are found in each, which is read `batch_size` ahead."""
    remaining = iter(items)
    while batch := list(islice(remaining, batch_size)):
        images = [item.image for item in batch if item.image is not None]
        finds = iter(finder(images, batch_size))
        for item in batch:
            if item.image is None:
                yield item
            else:
                found = next(finds)
                yield item._replace(boxes=found.boxes, scores=found.score)


def predict_subjects(
    predictor: Predictor, finder: SubjectFinder, images: Iterable[np.ndarray], batch_size: int
) -> Iterator[FoundSubjects]:
    """Yield the subjects in each of the images uint8 (H, W, C), as `predict` writes them."""
    items = (Item(i, str(i), float("nan"), image, None) for i, image in enumerate(images))
    empty = predictor.empty()
    for item, predictions in predict_items(predictor, items, batch_size, finder=finder):
        assert item.boxes is not None and item.scores is not None
        yield stacked_subjects(predictions, item.boxes, item.scores, empty)


def _distinct(item: Item, predictions: list[PredictedArrays]) -> tuple[Item, list[PredictedArrays]]:
    """Return an item and its predictions with each subject once; as they are for an image that cannot be read."""
    if item.scores is None or item.boxes is None:
        return item, predictions
    kept = distinct_poses(predictions, item.boxes)
    return item._replace(boxes=item.boxes[kept], scores=item.scores[kept]), [predictions[i] for i in kept]


def predict_video(
    predictor: Predictor, path: str | Path, batch_size: int = 16, max_pixels: int = MAX_PIXELS
) -> Iterator[PredictedArrays]:
    """Yield the prediction for each frame of a video, in order, and its `time` () in seconds.

    The k-th prediction is that of frame k; for a frame that cannot be decoded, all but the time is NaN. Frames are
    decoded while the network runs, at most 3 batches ahead, so memory does not grow with the video. A model trained on
    crops sees whole frames. Needs PyAV; raises ValueError for a file that is no video.
    """
    frames = Video(Path(path), max_pixels).play()
    items = (Item(frame.number, str(frame.number), frame.time, frame.pixels, None, frame.error) for frame in frames)
    for item, predictions in predict_items(predictor, items, batch_size):
        yield {**(predictions[0] if predictions else predictor.empty()), "time": np.array(item.time)}


def prefetch(items: Iterable[T], count: int = 1) -> Iterator[T]:
    """Yield the items, which a thread makes up to `count` + 1 ahead.

    An error in making an item is raised in its place. The thread ends with this generator.

    >>> list(prefetch(range(4), 2))
    [0, 1, 2, 3]
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1) as thread:
        pending: deque[Future[Any]] = deque(thread.submit(next, iterator, _END) for _ in range(count + 1))
        try:
            while (item := pending.popleft().result()) is not _END:
                pending.append(thread.submit(next, iterator, _END))
                yield item
        finally:
            for future in pending:
                future.cancel()
            if hasattr(iterator, "close"):  # in the thread that runs it, so that its files close now
                thread.submit(iterator.close).result()


def _batches(
    predictor: Predictor, items: Iterable[Item], batch_size: int, keep: bool
) -> Iterator[tuple[list[tuple[Item, int]], list[NetworkInput]]]:
    """Lists of `batch_size` inputs, and the items that begin in each with their numbers of subjects.

    A list is shorter at the end, and where as many items have fewer subjects.
    """
    begun: list[tuple[Item, int]] = []
    inputs: list[NetworkInput] = []
    for item in items:
        image = item.image
        boxes = [] if image is None else [None] if item.boxes is None else list(item.boxes)
        size = item.size if image is None else (image.shape[0], image.shape[1])
        begun.append((item._replace(image=image if keep else None, size=size), len(boxes)))
        for box in boxes:
            assert image is not None
            inputs.append(predictor.preprocess(image, box))
            if len(inputs) == batch_size:
                yield begun, inputs
                begun, inputs = [], []
        if len(begun) >= batch_size:
            yield begun, inputs
            begun, inputs = [], []
    if begun or inputs:
        yield begun, inputs
