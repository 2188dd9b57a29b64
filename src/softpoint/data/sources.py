"""Where pictures and their keypoints come from, before anything is resized.

A source has a `skeleton` and a length, and its `load(epoch, index)` is a pure function: the same arguments
give the same bytes in any process, in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from softpoint.data.images import read_image
from softpoint.data.labels import Labels, same_path
from softpoint.data.skeleton import Skeleton


class Record(NamedTuple):
    """One picture as it is on disk, with its labels in its own pixels."""

    image: np.ndarray  # uint8 (H, W, 3) RGB
    keypoints: np.ndarray  # float64 (K, 2), NaN where unlabelled
    visibility: np.ndarray  # int64 (K,), 0 unlabelled, 1 occluded, 2 visible
    scale: float  # the length in pixels that PCK and NME divide by
    group: str  # video, subject or session


class Source(Protocol):
    """What a data set reads from."""

    skeleton: Skeleton

    def __len__(self) -> int: ...

    def load(self, epoch: int, index: int) -> Record:
        """The picture at `index`; only sources that make new ones each time look at `epoch`."""
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
        return Record(image, keypoints, visibility, subject_scale(keypoints, self.size), "synthetic")


class LabelledImages:
    """The pictures below `folder` that `labels` describes."""

    def __init__(self, labels: Labels, folder: Path, sizes: np.ndarray) -> None:
        self.labels, self.folder = labels, folder
        self.skeleton = labels.skeleton
        scales = [subject_scale(points, size) for points, size in zip(labels.keypoints, sizes, strict=True)]
        self.scales = scales

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, epoch: int, index: int) -> Record:
        """The picture at `index`, the same in every epoch."""
        labels = self.labels
        image = read_image(self.folder / same_path(labels.images[index]))
        return Record(
            image, labels.keypoints[index], labels.visibility[index], self.scales[index], labels.groups[index]
        )


def subject_scale(keypoints: np.ndarray, size: Sequence[int]) -> float:
    """Diagonal of the box about the labelled points (K, 2), in pixels; that of the image (H, W) for fewer than two.

    >>> subject_scale(np.array([[0.0, 0.0], [30.0, 40.0]]), (100, 100))
    50.0
    """
    known = keypoints[np.isfinite(keypoints).all(-1)]
    diagonal = float(np.linalg.norm(np.ptp(known, axis=0))) if len(known) > 1 else 0.0
    return diagonal if diagonal > 0 else float(np.hypot(size[0], size[1]))
