"""Loaders: how many samples make a batch, in which order, and where a resumed run goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Sampler, default_collate

from softpoint.data.dataset import Draw
from softpoint.data.watched_loader import WatchedLoader
from softpoint.machine import cores
from softpoint.types import Sample

BATCH_SIZE = 8  # where nothing decides it


@dataclass(frozen=True)
class Loader:
    """Batches of a data loader.

    Args:
        batch_size: samples per process and step; "auto" for the usual number.
        num_workers: processes that load; 0 loads in the main one, None takes one per core, less one, up to eight.
        timeout: seconds after which a batch that such a process owes ends the run.
    """

    batch_size: int | str = "auto"
    num_workers: int | None = None
    timeout: float = 120

    def __post_init__(self) -> None:
        for key, value, least in (("batch_size", self.images, 1), ("num_workers", self.num_workers or 0, 0)):
            if type(value) is not int or value < least:
                raise ValueError(f"data.{key}={value}: give a whole number from {least} on")
        if not self.timeout > 0:
            raise ValueError(f"data.timeout={self.timeout}: give a positive number of seconds")

    @property
    def images(self) -> int:
        """Number of samples per process and step."""
        return BATCH_SIZE if self.batch_size == "auto" else self.batch_size  # type: ignore[return-value]

    @property
    def workers(self) -> int:
        """Number of loading processes."""
        return min(8, max(1, cores() - 1)) if self.num_workers is None else self.num_workers


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
