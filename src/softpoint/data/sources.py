"""Sources of images and keypoints, before anything is resized.

A source has a `skeleton` and a length, and its `load(epoch, index)` is a pure function: the same arguments
give the same bytes in any process, in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from softpoint.images import Reader
from softpoint.images.decode_errors import NoProcessError
from softpoint.labels.schema import Labels
from softpoint.labels.skeleton import Skeleton

NO_PIXELS = np.empty((0, 0, 3), np.uint8)


class Record(NamedTuple):
    """One subject and its image, with labels in pixels of the original image."""

    image: np.ndarray  # uint8 (H, W, C); empty in a description
    size: tuple[int, int]  # height and width of the image
    keypoints: np.ndarray  # float64 (K, 2), NaN where unlabeled
    visibility: np.ndarray  # int64 (K,): 0 unlabeled, 1 occluded, 2 visible, -1 absent
    scale: float  # length in pixels that PCK and NME divide by
    group: str  # video, subject or session
    box: np.ndarray | None = None  # left, top, right, bottom of a crop; None for the whole image
    error: str = ""  # why its image is blank and its points are hidden


class Source(Protocol):
    """A sequence of records."""

    skeleton: Skeleton

    def __len__(self) -> int: ...

    def load(self, epoch: int, index: int) -> Record:
        """Return the record at `index`; `epoch` matters only to sources that make new images in each."""
        ...

    def describe(self, index: int) -> Record:
        """Return the record at `index` (of epoch 0 where they differ), without pixels if they would have to be read."""
        ...


class Painter(Protocol):
    """A painter of synthetic scenes."""

    skeleton: Skeleton

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return image, keypoints and visibility of a scene of `size` (H, W)."""
        ...


class PaintedScenes:
    """`length` synthetic scenes of `size` (H, W); with `renewed`, new ones in each epoch."""

    def __init__(
        self, painter: Painter, size: tuple[int, int], length: int, seed: Sequence[int], renewed: bool
    ) -> None:
        self.painter, self.size, self.length = painter, size, length
        self.seed, self.renewed = tuple(seed), renewed
        self.skeleton = painter.skeleton

    def __len__(self) -> int:
        return self.length

    def load(self, epoch: int, index: int) -> Record:
        """Return the scene drawn from (seed, epoch, index)."""
        rng = np.random.default_rng([*self.seed, epoch if self.renewed else 0, index])
        image, keypoints, visibility = self.painter.draw(rng, self.size)
        return Record(image, self.size, keypoints, visibility, subject_scale(keypoints, self.size), "synthetic")

    def describe(self, index: int) -> Record:
        """Return the scene of the first epoch: its points are only known once it is painted."""
        return self.load(0, index)


class LabeledImages:
    """Labeled subjects, whose images `reader` opens.

    `sizes` (N, 2) is the height and width of each subject's image, `boxes` (N, 4) that of each crop. With `skip`, an
    image that cannot be read any more is blank, and its points are unlabeled.
    """

    def __init__(
        self,
        labels: Labels,
        sizes: np.ndarray,
        reader: Reader,
        boxes: np.ndarray | None = None,
        skip: bool = False,
    ) -> None:
        self.labels, self.sizes, self.reader, self.boxes, self.skip = labels, sizes, reader, boxes, skip
        self.skeleton, self.groups = labels.skeleton, labels.groups
        rows = zip(labels.keypoints, labels.boxes, sizes, strict=True)
        self.scales = np.array([subject_scale(points, size, box) for points, box, size in rows])

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, epoch: int, index: int) -> Record:
        """Return the record at `index`, the same in every epoch."""
        record, image = self.describe(index), self.labels.images[index]
        try:
            pixels = self.reader.read(image)
            if pixels.shape[:2] != record.size:
                before, now = record.size, pixels.shape[:2]
                raise ValueError(
                    f"{image} was {before[1]}x{before[0]} when it was scanned, and is {now[1]}x{now[0]} now"
                )
        except (OSError, ValueError) as error:
            if not self.skip or isinstance(error, NoProcessError):
                raise
            hidden = np.full_like(record.keypoints, np.nan), np.zeros_like(record.visibility)
            blank = np.zeros((*record.size, self.reader.channel_count), np.uint8)
            return record._replace(image=blank, keypoints=hidden[0], visibility=hidden[1], error=f"{image}: {error}")
        return record._replace(image=pixels)

    def describe(self, index: int) -> Record:
        """Return the record at `index` without pixels."""
        (height, width), scale = self.sizes[index].tolist(), float(self.scales[index])
        points = self.labels.keypoints[index], self.labels.visibility[index].astype(np.int64)
        box = None if self.boxes is None else self.boxes[index]
        return Record(NO_PIXELS, (height, width), *points, scale, self.groups[index], box)


def image_name(source: Source, index: int) -> str:
    """Return the path of the image of the sample at `index`, as in the labels; its number among painted scenes."""
    if (labels := getattr(source, "labels", None)) is not None:
        return str(labels.images[index])
    shards = getattr(source, "shards", None)
    return f"scene {index}" if shards is None else str(shards.read(index).path)


def subject_scale(keypoints: np.ndarray, size: Sequence[int], box: np.ndarray | None = None) -> float:
    """Return the diagonal of a subject's box (left, top, right, bottom), in pixels.

    Without a box that has an area, that of the box around its labeled points (K, 2); with fewer than two of them,
    of the image (H, W).

    >>> subject_scale(np.array([[0.0, 0.0], [30.0, 40.0]]), (100, 100))
    50.0
    """
    if box is not None and (box[2:] > box[:2]).all() and np.isfinite(box).all():
        return float(np.hypot(*(box[2:] - box[:2])))
    labeled = keypoints[np.isfinite(keypoints).all(-1)]
    diagonal = float(np.linalg.norm(np.ptp(labeled, axis=0))) if len(labeled) > 1 else 0.0
    return diagonal if diagonal > 0 else float(np.hypot(size[0], size[1]))
