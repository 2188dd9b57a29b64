"""Images of several subjects: each is found, cropped and read, and one that was found twice is kept once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from softpoint.data.crops import input_matrix
from softpoint.data.geometry import transform
from softpoint.inference.checkpoint import Checkpoint
from softpoint.inference.finding import Finds, find
from softpoint.inference.predictor import BATCH_SIZE, Predictor, network_pixels
from softpoint.metrics.functional import pose_similarity
from softpoint.models import KeypointNet
from softpoint.types import FoundSubjects

# Two poses of a larger object keypoint similarity, with `SIGMA` for every keypoint, are of one subject.
SAME_POSE, SIGMA = 0.6, 0.1


@dataclass(frozen=True, eq=False)
class SubjectFinder:
    """Finds subjects in images of any size.

    Args:
        net: has a finder.
        size: (height, width) of the finder's input.
        threshold: smallest score, the probability that a find is a subject.
        max_subjects: largest number in an image, the likeliest; None for any.

    Raises ValueError for numbers out of range.
    """

    net: KeypointNet
    size: tuple[int, int]
    threshold: float = 0.5
    max_subjects: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"subject_threshold={self.threshold:g} must be a probability, 0 to 1")
        if self.max_subjects is not None and (type(self.max_subjects) is not int or self.max_subjects < 1):
            raise ValueError(f"max_subjects={self.max_subjects} must be a whole number from 1 on, or null for any")

    def __call__(self, images: Sequence[np.ndarray], batch_size: int = BATCH_SIZE) -> list[Finds]:
        """Return the finds in each image uint8 (H, W, C), in its pixels.

        The network sees `batch_size` images at a time, blank ones after these, so that those of an image have the same
        bits in every batch.
        """
        starts = range(0, len(images), batch_size)
        return [finds for i in starts for finds in self._batch(images[i : i + batch_size], batch_size)]

    def _batch(self, images: Sequence[np.ndarray], batch_size: int) -> Iterator[Finds]:
        device = self.net.calibration.radius.device
        channels = self.net.in_channels
        inputs = np.zeros((batch_size, *self.size, channels), np.float32)
        matrices = [input_matrix((image.shape[0], image.shape[1]), None, self.size) for image in images]
        for place, image, matrix in zip(inputs, images, matrices, strict=False):
            place[:] = network_pixels(image, matrix, self.size, channels)
        batch = torch.from_numpy(inputs).permute(0, 3, 1, 2).to(device)
        for finds, matrix in zip(find(self.net, batch), matrices, strict=False):
            corners = transform(finds.boxes.reshape(-1, 2), np.linalg.inv(matrix))
            kept = (finds.score >= self.threshold).nonzero()[0][: self.max_subjects]
            yield Finds(corners.reshape(-1, 4)[kept], finds.expected[kept], finds.score[kept])


class SubjectPredictor:
    """Predicts the keypoints of all subjects in an image.

    Args:
        predictor: reads the keypoints in a box.
        finder: finds the boxes.
    """

    def __init__(self, predictor: Predictor, finder: SubjectFinder) -> None:
        self.predictor, self.finder = predictor, finder

    def __call__(self, image: np.ndarray) -> FoundSubjects:
        """Return the subjects in an image uint8 (H, W, C), the likeliest first.

        All are read at once, which may differ by rounding from what a stream reads in batches of one size.
        """
        (finds,) = self.finder([image], 1)
        inputs = (self.predictor.preprocess(image, box) for box in finds.boxes)
        predictions = list(self.predictor.predict(inputs, max(1, len(finds.boxes))))
        kept = distinct_poses(predictions, finds.boxes)
        return stacked_subjects(
            [predictions[i] for i in kept], finds.boxes[kept], finds.score[kept], self.predictor.empty()
        )


def stacked_subjects(
    predictions: Sequence[Mapping[str, np.ndarray]], boxes: np.ndarray, score: np.ndarray, empty: Mapping[str, Any]
) -> FoundSubjects:
    """Return the subjects of one image; `empty` is a prediction whose shapes tell those of none."""
    parts = ("keypoints", "confidence", "covariance", *(("visibility",) if "visibility" in empty else ()))
    stacked = {
        name: np.stack([own[name] for own in predictions])
        if predictions
        else np.empty((0, *empty[name].shape), np.float32)
        for name in parts
    }
    return FoundSubjects(**stacked, score=score, boxes=boxes)


def distinct_poses(predictions: Sequence[Mapping[str, np.ndarray]], boxes: np.ndarray) -> list[int]:
    """Return the rows of those subjects whose pose is no earlier one's; of two boxes' the larger area counts."""
    points, kept = [prediction["keypoints"] for prediction in predictions], list[int]()
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    for row, pose in enumerate(points):
        if all(pose_similarity(pose, points[i], float(max(areas[row], areas[i])), SIGMA) <= SAME_POSE for i in kept):
            kept.append(row)
    return kept


def subject_finder(
    checkpoint: Checkpoint, threshold: float = 0.5, max_subjects: int | None = None
) -> SubjectFinder | None:
    """Return the finder of a checkpoint, whose network a predictor has put on its device; None for one without."""
    net = checkpoint.net
    if checkpoint.finder is None or not isinstance(net, KeypointNet):
        return None
    return SubjectFinder(net, checkpoint.finder["size"], threshold, max_subjects)
