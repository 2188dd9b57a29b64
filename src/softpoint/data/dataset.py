"""Samples: one warp and one change of color of an image of a source, in an order that a seed decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from softpoint.data.augment import Augment
from softpoint.data.crops import input_matrix
from softpoint.data.device_augment import color_numbers
from softpoint.data.geometry import transform, warp
from softpoint.data.sources import NO_PIXELS, Source
from softpoint.labels.partition import evenly_spaced
from softpoint.types import Sample


class Draw(NamedTuple):
    """The epoch and index of a sample: the same draw gives the same bytes in any process, at any time."""

    epoch: int
    index: int  # type: ignore[assignment]  # the index of a sample, not of this tuple
    padding: bool = False  # a repeated sample that gives every process the same number; its labels are hidden
    size: tuple[int, int] | None = None  # of a run whose input grows; None for that of the dataset


@dataclass(eq=False, repr=False)
class KeypointDataset(Dataset[Sample]):
    """Samples of `size` (H, W), letterboxed or cropped from a source and augmented: a function of (seed, epoch, index).

    A sample holds `image` uint8 (H, W, C), `keypoints` float32 (K, 2) in its pixels (0 where unlabeled),
    `visibility` (K,), `matrix` float32 (3, 3) back to original pixels, `scale`, the original `size`
    (height, width), `index` and `group`.

    Args:
        padding: factor by which a crop is larger than a record's box.
        canvases: matrices (N, 3, 3) from original pixels to images that a device keeps (see `DeviceCache`): in place
            of its image, a sample then holds `warp` (3, 3), from the input to its canvas, and the `color` drawn for it.
        unrounded: a sample holds the input of a predictor, float32 in [0, 1], and its `record` without pixels.
    """

    source: Source
    size: tuple[int, int]
    seed: Sequence[int]
    augment: Augment | None = None
    padding: float = 1.0
    canvases: np.ndarray | None = None
    unrounded: bool = False

    def __len__(self) -> int:
        return len(self.source)

    def __getitems__(self, draws: Sequence[Draw | int]) -> list[Sample]:
        """Return the samples of a batch, called by loaders; a source at an address fetches all of them at once."""
        if fetch := getattr(self.source, "fetch", None):
            fetch([draw if isinstance(draw, int) else draw.index for draw in draws])
        return [self[draw] for draw in draws]

    def __getitem__(self, draw: Draw | int) -> Sample:
        if get_worker_info() is not None:
            # A forked worker has copies of the locks of OpenCV's threads, and no thread that would release them.
            cv2.setNumThreads(0)
        epoch, index, padding, size = Draw(0, draw) if isinstance(draw, int) else draw
        size = size or self.size
        record = self.source.load(epoch, index) if self.canvases is None else self.source.describe(index)
        rng = np.random.default_rng([*self.seed, epoch, index])
        matrix = input_matrix(record.size, record.box, size, self.padding)
        order = list(range(len(record.keypoints)))
        if self.augment is not None:
            skeleton = self.source.skeleton
            change, flipped = self.augment.matrix(rng, size, skeleton.can_mirror)
            matrix, order = change @ matrix, skeleton.flip_index if flipped else order
        keypoints, visibility = record.keypoints[order], record.visibility[order] * (not padding)
        sample: Sample = {
            "keypoints": _float32(np.where(visibility[:, None] > 0, transform(keypoints, matrix), 0)),
            "visibility": torch.from_numpy(visibility),
            "matrix": _float32(np.linalg.inv(matrix)),
            "scale": _float32(record.scale),
            "size": torch.tensor(record.size),
            "index": index,
            "group": record.group,
        }
        if record.box is not None:
            sample["center"] = _float32(transform((record.box[:2] + record.box[2:])[None] / 2, matrix)[0])
        if record.error:
            sample["error"] = record.error
        if self.unrounded:
            sample["record"] = record._replace(image=NO_PIXELS)
            sample["image"] = torch.from_numpy(unrounded_input(record.image, matrix, size))
            return sample
        if self.canvases is None:
            image = warp(record.image, matrix, size)
            sample["image"] = torch.from_numpy(image if self.augment is None else self.augment.recolor(rng, image))
            return sample
        sample["warp"] = _float32(self.canvases[index] @ np.linalg.inv(matrix))
        if self.augment is not None:
            sample["color"] = torch.from_numpy(color_numbers(self.augment.draw_color(rng), size))
        return sample


def unrounded_input(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return an image uint8 (H, W, C) after `matrix`, as float32 (h, w, C) in [0, 1].

    Not rounded to whole levels: a network may respond to a single level, and runtimes round halves differently.
    """
    return warp(image, matrix, size, rounded=False) / np.float32(255)


@lru_cache(maxsize=8)
def shuffled(count: int, *seed: int) -> np.ndarray:
    """Return the numbers from 0 to `count` - 1 in an order that a seed decides; not to be changed.

    >>> shuffled(4, 7, 0).tolist()
    [0, 2, 1, 3]
    """
    order = np.random.default_rng(seed).permutation(count)
    order.flags.writeable = False
    return order


def input_pixel(source: Source, size: tuple[int, int], padding: float) -> float:
    """Return the usual length, in original pixels, of a pixel of an input of `size` (H, W): a median over records."""
    records = [source.describe(index) for index in evenly_spaced(len(source), 100)]
    return float(1 / np.median([input_matrix(record.size, record.box, size, padding)[0, 0] for record in records]))


def _float32(values: np.ndarray | float) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
