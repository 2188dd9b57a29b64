"""Samples: one warp and one change of color of an image of a source, in an order that a seed decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, Sampler, default_collate, get_worker_info

from softpoint.data.augment import Augment
from softpoint.data.crops import input_matrix
from softpoint.data.device_augment import color_numbers
from softpoint.data.geometry import transform, warp
from softpoint.data.sources import NO_PIXELS, Source
from softpoint.data.watched_loader import WatchedLoader
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


def collate(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return a batch of samples; its images (B, C, H, W) are channels-last in memory, which convolutions prefer.

    Records stay a list, as do errors of images, which a `WatchedLoader` takes out.
    """
    lists = {key: [sample[key] for sample in samples if key in sample] for key in ("record", "error", "scene")}
    batch: dict[str, Any] = default_collate([{k: v for k, v in sample.items() if k not in lists} for sample in samples])
    scenes: Any = lists.pop("scene")
    batch |= {key: values for key, values in lists.items() if values}
    if scenes:
        batch["scene"] = collate_scenes(scenes)
    if "image" in batch:
        batch["image"] = batch["image"].permute(0, 3, 1, 2)
    return batch


def collate_scenes(samples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """Return a batch of whole images with their subjects, see `SceneBatch`; NaN fills up subjects and regions."""
    batch = {name: torch.stack([sample[name] for sample in samples]) for name in ("image", "complete")}
    batch["image"] = batch["image"].permute(0, 3, 1, 2)
    for name in ("anchors", "boxes", "ignored"):
        rows = [sample[name] for sample in samples]
        batch[name] = pad_sequence(rows, batch_first=True, padding_value=float("nan"))
    return batch


@dataclass(eq=False)
class EpochSampler(Sampler[Draw]):
    """The draws of one of `world` processes in an epoch: its share of a seeded shuffle, or of all in order.

    Every process gets the same number of draws. Shuffled, the order is a function of (seed, epoch), and a few indices
    are drawn twice to reach it; in order, those are marked as padding, so that they are not measured.
    An epoch of several `rounds` goes through the set that often, each time by another shuffle and with other samples.
    Lightning calls `set_epoch` before each epoch.

    >>> [draw.index for draw in EpochSampler(5, rank=1, world=2)]
    [1, 3, 0]
    >>> [(draw.epoch, draw.index) for draw in EpochSampler(3, seed=0, rounds=2)]
    [(0, 2), (0, 0), (0, 1), (1, 2), (1, 0), (1, 1)]
    """

    length: int
    seed: int | None = None
    rank: int = 0
    world: int = 1
    rounds: int = 1
    epoch: int = field(default=0, init=False)
    resumed: tuple[int, int] = field(default=(0, 0), init=False)  # an epoch, and its draws that an earlier run made
    size: tuple[int, int] | None = field(default=None, init=False)  # of the draws to come, where the input has grown

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, by which samples are shuffled and augmented."""
        self.epoch = epoch

    def order(self) -> np.ndarray:
        """Return all indices in the order of the epoch, one round after another."""
        if self.seed is None:
            return np.tile(np.arange(self.length), self.rounds)
        passes = range(self.epoch * self.rounds, (self.epoch + 1) * self.rounds)
        orders = [np.random.default_rng([self.seed, i]).permutation(self.length) for i in passes]
        return orders[0] if len(orders) == 1 else np.concatenate(orders)  # of a large set, a copy is felt

    @property
    def terms(self) -> dict[str, int | None]:
        """Values that the draws of an epoch depend on, beside the epoch."""
        return {"world": self.world, "seed": self.seed, "samples": self.length * self.rounds}

    def __len__(self) -> int:
        return -(-self.length * self.rounds // self.world)

    def __iter__(self) -> Iterator[Draw]:
        order, (epoch, drawn) = self.order(), self.resumed
        begin, total = drawn if epoch == self.epoch else 0, self.length * self.rounds
        for i in range(self.rank + begin * self.world, len(self) * self.world, self.world):
            epoch = 0 if self.seed is None else self.epoch * self.rounds + i % total // self.length
            yield Draw(epoch, int(order[i % total]), i >= total and self.seed is None, self.size)


class ResumableLoader(WatchedLoader):
    """A loader whose state is the number of batches of an epoch that it has yielded, and that continues after them.

    With another sampler than `EpochSampler`, which Lightning sets to overfit a few batches, it has no state.
    """

    position: tuple[int, int] | None = None  # epoch and number of yielded batches

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
        """Return the position, and the values that it depends on."""
        if not isinstance(self.sampler, EpochSampler):
            return {}
        epoch, batches = self.position or (self.sampler.epoch, 0)
        done = {"epoch": epoch, "batches": batches, "of": len(self)}
        return done | {"batch_size": self.batch_size} | self.sampler.terms

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue there; ValueError in the middle of an epoch that would now have other batches."""
        sampler = self.sampler
        if not state_dict or not isinstance(sampler, EpochSampler):
            return
        epoch, batches = state_dict["epoch"], state_dict["batches"]
        if batches >= state_dict["of"]:
            epoch, batches = epoch + 1, 0
        assert self.batch_size is not None
        now = {"batch_size": self.batch_size} | sampler.terms
        if batches and _steps(state_dict) != _steps(now | {"of": len(self)}):
            changed = [key for key, value in now.items() if state_dict.get(key) != value]
            before, here = (" ".join(f"{key}={terms.get(key)}" for key in changed) for terms in (state_dict, now))
            raise ValueError(
                f"the checkpoint is in the middle of an epoch with {before}, this run has {here}; set them as they were"
                " (of world, the processes, and batch_size the product, where an epoch then has as many steps), or"
                " resume from a checkpoint of an epoch's end"
            )
        sampler.resumed, self.position = (epoch, batches * self.batch_size), (epoch, batches)
        sampler.set_epoch(epoch)


def _steps(terms: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the samples of a step follow from: however many processes share them, they are the same."""
    return terms.get("batch_size", 0) * terms.get("world", 0), *(terms.get(key) for key in ("seed", "samples", "of"))


def _float32(values: np.ndarray | float) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
