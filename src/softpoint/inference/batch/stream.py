"""Streams of images and their predictions: batch by batch, in constant memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from softpoint.images.decode import MAX_PIXELS
from softpoint.images.video_play import Playback
from softpoint.inference.batch.prefetch import prefetch
from softpoint.inference.predictor import NetworkInput, Predictor

Answer = dict[str, np.ndarray]


class Shot(NamedTuple):
    """An image or frame that is to be predicted."""

    number: int  # in its source, from 0
    name: str
    time: float  # in seconds after the first frame; NaN for images
    image: np.ndarray | None  # uint8 (H, W, 3) RGB; None where it cannot be read
    boxes: np.ndarray | None  # (N, 4) of the subjects to predict; None for the whole image
    broken: str = ""  # why there is no image
    size: tuple[int, int] = (0, 0)  # height and width; 0 where it cannot be read


def answered(
    predictor: Predictor, shots: Iterable[Shot], batch_size: int, keep: bool = False
) -> Generator[tuple[Shot, list[Answer]], None, None]:
    """Yield each shot with the predictions for its subjects: one for a whole image, none for one that is broken.

    A thread reads and resizes while the network runs: one batch is with the network, one waits and one is prepared, so
    that memory holds 3 * `batch_size` inputs of the network; with `keep` the images, too.
    Raises ValueError for a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1")
    waiting: deque[tuple[Shot, int]] = deque()
    predictions: deque[Answer] = deque()
    for shots_and_counts, inputs in prefetch(_batches(predictor, shots, batch_size, keep)):
        waiting.extend(shots_and_counts)
        predictions.extend(predictor.predict(inputs, batch_size))
        while waiting and waiting[0][1] <= len(predictions):
            shot, count = waiting.popleft()
            yield shot, [predictions.popleft() for _ in range(count)]


def predict_video(
    predictor: Predictor, path: str | Path, batch_size: int = 16, max_pixels: int = MAX_PIXELS
) -> Iterator[Answer]:
    """Yield the prediction for each frame of a video, in order, and its `time` () in seconds.

    The k-th prediction is that of frame k; for a frame that cannot be decoded, all but the time is NaN. Frames are
    decoded while the network runs, at most 3 batches ahead, so memory does not grow with the video. A model trained on
    crops sees whole frames. Needs PyAV; raises ValueError for a file that is no video.
    """
    frames = Playback(Path(path), max_pixels).play()
    shots = (Shot(frame.number, str(frame.number), frame.time, frame.pixels, None, frame.error) for frame in frames)
    for shot, predictions in answered(predictor, shots, batch_size):
        yield {**(predictions[0] if predictions else predictor.empty()), "time": np.array(shot.time)}


def _batches(
    predictor: Predictor, shots: Iterable[Shot], batch_size: int, keep: bool
) -> Iterator[tuple[list[tuple[Shot, int]], list[NetworkInput]]]:
    """Lists of `batch_size` inputs, and the shots that begin in each with their numbers of subjects.

    A list is shorter at the end, and where as many shots have fewer subjects.
    """
    begun: list[tuple[Shot, int]] = []
    inputs: list[NetworkInput] = []
    for shot in shots:
        image = shot.image
        boxes = [] if image is None else [None] if shot.boxes is None else list(shot.boxes)
        size = shot.size if image is None else (image.shape[0], image.shape[1])
        begun.append((shot._replace(image=image if keep else None, size=size), len(boxes)))
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
