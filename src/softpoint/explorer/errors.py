"""Errors of a model on the labels that are browsed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from threading import Lock
from typing import Any

import numpy as np

from softpoint.explorer.maps import one_forward
from softpoint.inference.predictor import BATCH_SIZE, NetworkInput, Predictor
from softpoint.labels.boxes import subject_boxes
from softpoint.labels.load import LoadedLabels


class Measured:
    """Predictions for N labeled subjects, which are made once, when a visitor first asks for them."""

    def __init__(self, predictor: Predictor, loaded: LoadedLabels) -> None:
        self.predictor, self.loaded = predictor, loaded
        self.points: np.ndarray | None = None  # (N, K, 2), NaN where a label's keypoint is not predicted
        self._lock = Lock()

    @property
    def errors(self) -> np.ndarray | None:
        """Distances (N, K) from the labels in px, NaN where there is no label or no prediction; None before."""
        return None if self.points is None else np.linalg.norm(self.points - self.loaded.labels.keypoints, axis=-1)

    def measure(self, progress: Callable[[Iterable[int]], Iterable[int]] = iter) -> None:
        """Predict all subjects, unless that was done before; `progress` wraps their numbers."""
        with self._lock:
            if self.points is None:
                self.points = predicted_points(self.predictor, self.loaded, progress)


def predicted_points(
    predictor: Predictor, loaded: LoadedLabels, progress: Callable[[Iterable[int]], Iterable[int]] = iter
) -> np.ndarray:
    """Return the prediction (N, K, 2) for each labeled subject; NaN for an image that cannot be read.

    A network of crops sees the subject's box, and nothing of a subject without one.
    """
    labels = loaded.labels
    boxes = subject_boxes(labels, predictor.crops.get("boxes")) if predictor.crops else None
    rows: list[int] = []

    def inputs() -> Iterator[NetworkInput]:
        for row in progress(range(len(labels))):
            box = None if boxes is None else boxes[row]
            if box is not None and not np.isfinite(box).all():
                continue
            try:
                image = loaded.image_folder.read(labels.images[row])
            except (ValueError, OSError):
                continue
            rows.append(row)
            yield predictor.preprocess(image, box)

    result: Any = np.full((len(labels), len(labels.skeleton), 2), np.nan)
    both = [name for name in labels.skeleton.names if name in predictor.skeleton.names]
    ours, theirs = ([skeleton.index(name) for name in both] for skeleton in (labels.skeleton, predictor.skeleton))
    remaining = inputs()
    while batch := list(islice(remaining, BATCH_SIZE)):
        with one_forward():  # a batch at a time, so that other visitors wait for no more
            predictions = list(predictor.predict(batch, BATCH_SIZE))
        for row, prediction in zip(rows[-len(batch) :], predictions, strict=True):
            result[row, ours] = prediction["keypoints"][theirs]
    return np.asarray(result)
