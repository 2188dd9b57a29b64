"""From a source to the tensors that travel: one warp, one change of color, one sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from softpoint.data.augment import Augment
from softpoint.data.crops import input_matrix
from softpoint.data.device_augment import color_numbers
from softpoint.data.geometry import transform, warp
from softpoint.data.sources import Record, Source


class Draw(NamedTuple):
    """Which sample to make: the same draw gives the same bytes, whoever makes it and when."""

    epoch: int
    index: int  # type: ignore[assignment]  # a sample is what an index means here
    padding: bool = False  # only there to give every process as many samples; its labels are hidden


class KeypointDataset(Dataset):
    """Samples of `size` (H, W), letterboxed or cropped from a source and augmented: a function of (seed, epoch, index).

    A sample holds `image` uint8 (H, W, 3), `keypoints` float32 (K, 2) in its pixels (0 where unlabeled),
    `visibility` (K,), `matrix` float32 (3, 3) back to original pixels, `scale`, the original `size`
    (height, width), `index` and `group`.

    Args:
        padding: how many times larger than a record's box the part shown is.
        canvases: matrices (N, 3, 3) from original pixels to images that a device keeps (see `DeviceCache`): then
            a sample holds no image but `warp` (3, 3), from the input to its canvas, and the `color` drawn for it.
    """

    def __init__(
        self,
        source: Source,
        size: tuple[int, int],
        seed: Sequence[int],
        augment: Augment | None = None,
        padding: float = 1.0,
        canvases: np.ndarray | None = None,
    ) -> None:
        self.source, self.size, self.seed, self.augment = source, size, tuple(seed), augment
        self.padding, self.canvases = padding, canvases

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, draw: Draw | int) -> dict[str, Any]:
        epoch, index, padding = Draw(0, draw) if isinstance(draw, int) else draw
        record = self.source.load(epoch, index) if self.canvases is None else self.source.describe(index)
        rng = np.random.default_rng([*self.seed, epoch, index])
        matrix, order = self._geometry(rng, record)
        keypoints, visibility = record.keypoints[order], record.visibility[order]
        labeled = (visibility > 0) & (not padding)
        return {
            **self._pixels(rng, record, index, matrix),
            "keypoints": _float32(np.where(labeled[:, None], transform(keypoints, matrix), 0)),
            "visibility": torch.from_numpy(visibility * (not padding)),
            "matrix": _float32(np.linalg.inv(matrix)),
            "scale": _float32(record.scale),
            "size": torch.tensor(record.size),
            "index": index,
            "group": record.group,
        }

    def _geometry(self, rng: np.random.Generator, record: Record) -> tuple[np.ndarray, list[int]]:
        """The matrix from original pixels to the input, and which keypoint stands where after it."""
        order = list(range(len(record.keypoints)))
        matrix = input_matrix(record.size, record.box, self.size, self.padding)
        if self.augment is None:
            return matrix, order
        skeleton = self.source.skeleton
        change, flipped = self.augment.matrix(rng, self.size, bool(skeleton.flip_pairs))
        return change @ matrix, skeleton.flip_index if flipped else order

    def _pixels(
        self, rng: np.random.Generator, record: Record, index: int, matrix: np.ndarray
    ) -> dict[str, torch.Tensor]:
        """The image, or how a device makes it from its canvas."""
        if self.canvases is not None:
            change = {"warp": _float32(self.canvases[index] @ np.linalg.inv(matrix))}
            if self.augment is None:
                return change
            return change | {"color": torch.from_numpy(color_numbers(self.augment.draw_color(rng), self.size))}
        image = warp(record.image, matrix, self.size)
        return {"image": torch.from_numpy(image if self.augment is None else self.augment.recolor(rng, image))}


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A batch of samples; its images (B, 3, H, W) lie in memory with their channels last, as convolutions like."""
    batch = default_collate(list(samples))
    if "image" in batch:
        batch["image"] = batch["image"].permute(0, 3, 1, 2)
    return batch


class EpochSampler(Sampler):
    """What one of `world` processes draws in an epoch: its share of a seeded shuffle, or of all in order.

    Every process gets as many draws. Shuffled, the order is a function of (seed, epoch), and a few indices
    are drawn twice to fill up; in order, what fills up is marked as padding, so that it is not measured.
    An epoch of several `rounds` goes through the set so often, each time by another shuffle and with other samples.
    Lightning calls `set_epoch` before each epoch.

    >>> [draw.index for draw in EpochSampler(5, rank=1, world=2)]
    [1, 3, 0]
    >>> [(draw.epoch, draw.index) for draw in EpochSampler(3, seed=0, rounds=2)]
    [(0, 2), (0, 0), (0, 1), (1, 2), (1, 0), (1, 1)]
    """

    def __init__(self, length: int, seed: int | None = None, rank: int = 0, world: int = 1, rounds: int = 1) -> None:
        self.length, self.seed, self.rank, self.world = length, seed, rank, world
        self.rounds = rounds
        self.epoch = 0
        self.resumed = (0, 0)  # an epoch, and how many of its draws an earlier run has had

    def set_epoch(self, epoch: int) -> None:
        """Choose the shuffle and, where the data is random, what the samples look like."""
        self.epoch = epoch

    def order(self) -> np.ndarray:
        """All indices in the order of the epoch, those of one round after those of another."""
        if self.seed is None:
            return np.tile(np.arange(self.length), self.rounds)
        passes = range(self.epoch * self.rounds, (self.epoch + 1) * self.rounds)
        return np.concatenate([np.random.default_rng([self.seed, i]).permutation(self.length) for i in passes])

    @property
    def terms(self) -> dict[str, int | None]:
        """What the draws of an epoch depend on, beside the epoch."""
        return {"world": self.world, "seed": self.seed, "samples": self.length * self.rounds}

    def __len__(self) -> int:
        return -(-self.length * self.rounds // self.world)

    def __iter__(self) -> Iterator[Draw]:
        order, (epoch, drawn) = self.order(), self.resumed
        begin, total = drawn if epoch == self.epoch else 0, self.length * self.rounds
        for i in range(self.rank + begin * self.world, len(self) * self.world, self.world):
            epoch = 0 if self.seed is None else self.epoch * self.rounds + i % total // self.length
            yield Draw(epoch, int(order[i % total]), padding=i >= total and self.seed is None)


class ResumableLoader(DataLoader):
    """A loader whose state tells how many batches of an epoch it has handed out, and that goes on after them.

    With another sampler than ours, as Lightning puts there to overfit a few batches, it has no state.
    """

    position: tuple[int, int] | None = None  # epoch and batches handed out

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        sampler = self.sampler
        if not isinstance(sampler, EpochSampler):
            yield from super().__iter__()
            return
        # The epoch is chosen between iter() and the first batch.
        epoch, drawn = sampler.resumed
        assert self.batch_size is not None
        before = drawn // self.batch_size if epoch == sampler.epoch else 0
        for done, batch in enumerate(super().__iter__(), before + 1):
            self.position = (sampler.epoch, done)
            yield batch

    def state_dict(self) -> dict[str, int | None]:
        """Where it is, and what that depends on."""
        if not isinstance(self.sampler, EpochSampler):
            return {}
        epoch, batches = self.position or (self.sampler.epoch, 0)
        done = {"epoch": epoch, "batches": batches, "of": len(self)}
        return done | {"batch_size": self.batch_size} | self.sampler.terms

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Goes on there; ValueError in the middle of an epoch that would be cut into other batches."""
        sampler = self.sampler
        if not state_dict or not isinstance(sampler, EpochSampler):
            return
        epoch, batches = state_dict["epoch"], state_dict["batches"]
        if batches >= state_dict["of"]:
            epoch, batches = epoch + 1, 0
        terms = {"batch_size": self.batch_size} | sampler.terms
        if batches and (changed := {key: value for key, value in terms.items() if state_dict.get(key) != value}):
            before = " ".join(f"{key}={state_dict.get(key)}" for key in changed)
            now = " ".join(f"{key}={value}" for key, value in changed.items())
            raise ValueError(
                f"the checkpoint stands in the middle of an epoch with {before}, this run has {now}; set them as they"
                " were, or go on from a checkpoint of an epoch's end"
            )
        assert self.batch_size is not None
        sampler.resumed, self.position = (epoch, batches * self.batch_size), (epoch, batches)
        sampler.set_epoch(epoch)


def _float32(values: np.ndarray | float) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
