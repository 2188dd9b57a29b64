"""Where images and their keypoints come from, before anything is resized.

A source has a `skeleton` and a length, and its `load(epoch, index)` is a pure function: the same arguments
give the same bytes in any process, in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from softpoint.images import Reader
from softpoint.labels.schema import Labels
from softpoint.labels.skeleton import Skeleton

NO_PIXELS = np.empty((0, 0, 3), np.uint8)


class Record(NamedTuple):
    """One image as it is on disk, with its labels in its own pixels."""

    image: np.ndarray  # uint8 (H, W, 3) RGB; empty in a description
    size: tuple[int, int]  # its height and width
    keypoints: np.ndarray  # float64 (K, 2), NaN where unlabeled
    visibility: np.ndarray  # int64 (K,): 0 unlabeled, 1 occluded, 2 visible, -1 known to be absent
    scale: float  # the length in pixels that PCK and NME divide by
    group: str  # video, subject or session
    box: np.ndarray | None = None  # left, top, right, bottom of the part to look at; None for all


class Source(Protocol):
    """What a data set reads from."""

    skeleton: Skeleton

    def __len__(self) -> int: ...

    def load(self, epoch: int, index: int) -> Record:
        """The image at `index`; only sources that make new ones each time look at `epoch`."""
        ...

    def describe(self, index: int) -> Record:
        """What is known about the image at `index`, in the first epoch where they differ, perhaps without pixels."""
        ...


class Painter(Protocol):
    """What draws synthetic scenes."""

    skeleton: Skeleton

    def draw(self, rng: np.random.Generator, size: tuple[int, int]):
        """A scene of `size` (H, W) with image, keypoints and visibility."""
        ...


class PaintedScenes:
    """`length` synthetic scenes of `size` (H, W); with `renewed`, other ones each epoch."""

    def __init__(
        self, painter: Painter, size: tuple[int, int], length: int, seed: Sequence[int], renewed: bool
    ) -> None:
        self.painter, self.size, self.length, self.seed, self.renewed = (
            painter,
            size,
            length,
            tuple(seed),
            renewed,
        )
        self.skeleton = painter.skeleton

    def __len__(self) -> int:
        return self.length

    def load(self, epoch: int, index: int) -> Record:
        """The scene drawn from (seed, epoch, index)."""
        rng = np.random.default_rng([*self.seed, epoch if self.renewed else 0, index])
        image, keypoints, visibility = self.painter.draw(rng, self.size)
        return Record(image, self.size, keypoints, visibility, subject_scale(keypoints, self.size), "synthetic")

    def describe(self, index: int) -> Record:
        """The scene of the first epoch: to know its points is to paint it."""
        return self.load(0, index)


class LabeledImages:
    """The images that `labels` describe, one a subject, opened by `reader`.

    `sizes` (N, 2) is the height and width of each subject's image, `boxes` (N, 4) the part to look at.
    """

    def __init__(self, labels: Labels, sizes: np.ndarray, reader: Reader, boxes: np.ndarray | None = None) -> None:
        self.labels, self.sizes, self.reader, self.boxes = labels, sizes, reader, boxes
        self.skeleton, self.groups = labels.skeleton, labels.groups
        rows = zip(labels.keypoints, labels.boxes, sizes, strict=True)
        self.scales = [subject_scale(points, size, box) for points, box, size in rows]

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, epoch: int, index: int) -> Record:
        """The image at `index`, the same in every epoch."""
        return self.describe(index)._replace(image=self.reader.read(self.labels.subjects[index].image))

    def describe(self, index: int) -> Record:
        """All that is known about an image without opening it."""
        subject, (height, width) = self.labels.subjects[index], self.sizes[index].tolist()
        box = None if self.boxes is None else self.boxes[index]
        points, scale = (subject.keypoints, subject.visibility), self.scales[index]
        return Record(NO_PIXELS, (height, width), *points, scale, self.groups[index], box)


def subject_scale(keypoints: np.ndarray, size: Sequence[int], box: np.ndarray | None = None) -> float:
    """Diagonal of a subject's box (left, top, right, bottom), in pixels.

    Without a box, that about its labeled points (K, 2); with fewer than two of them that of the image (H, W).

    >>> subject_scale(np.array([[0.0, 0.0], [30.0, 40.0]]), (100, 100))
    50.0
    """
    if box is not None and np.isfinite(box).all():
        return float(np.hypot(*(box[2:] - box[:2])))
    known = keypoints[np.isfinite(keypoints).all(-1)]
    diagonal = float(np.linalg.norm(np.ptp(known, axis=0))) if len(known) > 1 else 0.0
    return diagonal if diagonal > 0 else float(np.hypot(size[0], size[1]))
