"""From a source to the tensors that travel: one warp, one change of colour, one sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler, default_collate

from softpoint.data.augment import Augment
from softpoint.data.geometry import letterbox_matrix, transform, warp
from softpoint.data.sources import Source


class Draw(NamedTuple):
    """Which sample to make: the same draw gives the same bytes, whoever makes it and when."""

    epoch: int
    index: int  # type: ignore[assignment]  # a sample is what an index means here
    padding: bool = False  # only there to give every process as many samples; its labels are hidden


class KeypointDataset(Dataset):
    """Samples of `size` (H, W), letterboxed from a source and augmented: a function of (seed, epoch, index).

    A sample holds `image` uint8 (H, W, 3), `keypoints` float32 (K, 2) in its pixels (0 where unlabelled),
    `visibility` (K,), `matrix` float32 (3, 3) back to original pixels, `scale`, the original `size`
    (height, width), `index` and `group`.
    """

    def __init__(
        self, source: Source, size: tuple[int, int], seed: Sequence[int], augment: Augment | None = None
    ) -> None:
        self.source, self.size, self.seed, self.augment = source, size, tuple(seed), augment

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, draw: Draw | int) -> dict[str, Any]:
        epoch, index, padding = Draw(0, draw) if isinstance(draw, int) else draw
        record = self.source.load(epoch, index)
        height, width = record.image.shape[:2]
        matrix = letterbox_matrix((height, width), self.size)
        keypoints, visibility, order = record.keypoints, record.visibility, None
        rng = np.random.default_rng([*self.seed, epoch, index])
        if self.augment is not None:
            change, flipped = self.augment.matrix(rng, self.size, bool(self.source.skeleton.flip_pairs))
            matrix = change @ matrix
            order = self.source.skeleton.flip_index if flipped else None
        if order is not None:
            keypoints, visibility = keypoints[order], visibility[order]
        image = warp(record.image, matrix, self.size)
        if self.augment is not None:
            image = self.augment.recolor(rng, image)
        labelled = (visibility > 0) & (not padding)
        return {
            "image": torch.from_numpy(image),
            "keypoints": _float32(np.where(labelled[:, None], transform(keypoints, matrix), 0)),
            "visibility": torch.from_numpy(np.where(labelled, visibility, 0)),
            "matrix": _float32(np.linalg.inv(matrix)),
            "scale": _float32(record.scale),
            "size": torch.tensor([height, width]),
            "index": index,
            "group": record.group,
        }


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A batch of samples; its images (B, 3, H, W) lie in memory with their channels last, as convolutions like."""
    batch = default_collate(list(samples))
    batch["image"] = batch["image"].permute(0, 3, 1, 2)
    return batch


class EpochSampler(Sampler):
    """What one of `world` processes draws in an epoch: its share of a seeded shuffle, or of all in order.

    Every process gets as many draws. Shuffled, the order is a function of (seed, epoch), and a few indices
    are drawn twice to fill up; in order, what fills up is marked as padding, so that it is not measured.
    Lightning calls `set_epoch` before each epoch.

    >>> [draw.index for draw in EpochSampler(5, rank=1, world=2)]
    [1, 3, 0]
    """

    def __init__(self, length: int, seed: int | None = None, rank: int = 0, world: int = 1) -> None:
        self.length, self.seed, self.rank, self.world = length, seed, rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the shuffle and, where the data is random, what the samples look like."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.length // self.world)

    def __iter__(self) -> Iterator[Draw]:
        order = np.arange(self.length)
        if self.seed is not None:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        for i in range(self.rank, len(self) * self.world, self.world):
            filling = i >= self.length
            epoch = 0 if self.seed is None else self.epoch
            yield Draw(epoch, int(order[i % self.length]), padding=filling and self.seed is None)


def _float32(values: np.ndarray | float) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
