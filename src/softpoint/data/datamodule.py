"""Lightning's view of the data: three sets, their loaders, and what a checkpoint remembers of them."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import RunningStage
from torch.utils.data import DataLoader

from softpoint.data.augment import Augment
from softpoint.data.crops import input_matrix
from softpoint.data.dataset import EpochSampler, KeypointDataset, ResumableLoader, collate
from softpoint.data.device_cache import DeviceCache
from softpoint.data.geometry import transform
from softpoint.data.sources import PaintedScenes, Painter, Source
from softpoint.labels.skeleton import Skeleton
from softpoint.labels.split_file import SPLITS

_SPLIT_OF = {RunningStage.TRAINING: "train", RunningStage.TESTING: "test"}


def check_size(size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width of what a network is shown; ValueError for anything but positive whole numbers.

    >>> check_size(64), check_size([48, 64])
    ((64, 64), (48, 64))
    """
    sides = list(size) if isinstance(size, Sequence) else [size, size]
    if len(sides) != 2 or not all(isinstance(side, int) for side in sides):
        raise ValueError(f"data.size={size} is no size; give one number for a square, or [height,width]")
    if min(sides) < 1:
        raise ValueError(f"data.size {sides} must be positive")
    return sides[0], sides[1]


class KeypointData(pl.LightningDataModule, ABC):
    """Train, val and test sets of one size, from sources that a subclass opens.

    Args:
        size: (height, width) of what the network sees, or one number for a square.
        batch_size: samples per process and step.
        num_workers: processes that load; 0 loads in the main one, None takes what the machine has cores for.
        seed: decides order, augmentation and, where there is one, the split.
        augment: changes to training samples; None for none.
    """

    # How samples are cropped, for a checkpoint: `padding` (how many times larger than a subject's box they are)
    # and where `boxes` come from; None where they show whole images.
    crops: dict[str, Any] | None = None

    # Steps of an epoch, at least: what a small set is gone through several times for, between two validations.
    epoch_steps: int = 1

    def __init__(
        self, size: int | Sequence[int], batch_size: int, num_workers: int | None, seed: int, augment: Augment | None
    ) -> None:
        super().__init__()
        self.size = check_size(size)
        if batch_size < 1:
            raise ValueError(f"data.batch_size {batch_size} must be positive")
        self.batch_size, self.seed, self.augment = batch_size, seed, augment
        self.num_workers = spare_cores() if num_workers is None else num_workers
        self.epochs = 0  # that a resumed run has behind it
        self._training: ResumableLoader | None = None
        self._position: dict[str, Any] = {}  # of training, in a checkpoint to go on from
        self.device_caches: dict[str, DeviceCache] = {}
        self.sources = self.open()

    @abstractmethod
    def open(self) -> dict[str, Source]:
        """A source for each of train, val and test."""

    @property
    def padding(self) -> float:
        """How many times larger than a subject's box the part of the image that a sample shows is."""
        return 1.0 if self.crops is None else float(self.crops["padding"])

    @property
    def skeleton(self) -> Skeleton:
        """Names, pairs and edges of the keypoints."""
        return self.sources["train"].skeleton

    @property
    def summary(self) -> str:
        """What there is to train on, in one phrase."""
        counts = ", ".join(f"{len(source)} {split}" for split, source in self.sources.items())
        return f"{len(self.skeleton)} keypoints, images {counts}, {self.size[0]}x{self.size[1]}"

    @property
    def usual_epochs(self) -> int:
        """Epochs that a set of this size usually wants: 1,500 steps, and ten times through it."""
        once = len(self.sources["train"]) / self.batch_size
        return math.ceil((1500 + 10 * once) * self.batch_size / len(self.sampler("train", True, 0, 1)))

    def mean_position(self) -> np.ndarray:
        """Mean of each keypoint (K, 2) in input pixels, over up to 1,000 unaugmented training samples: a baseline.

        The middle of the input for a keypoint that none of them shows.
        """
        records = [self.sources["train"].describe(index) for index in self.fair_sample(1000)]
        matrices = [input_matrix(record.size, record.box, self.size, self.padding) for record in records]
        points = np.array([transform(r.keypoints, matrix) for r, matrix in zip(records, matrices, strict=True)])
        known, middle = np.isfinite(points), (np.array(self.size[::-1]) - 1) / 2
        mean = np.where(known, points, 0).sum(0) / known.sum(0).clip(1)
        return np.where(known.any(0), mean, middle)

    def fair_sample(self, count: int) -> Sequence[int]:
        """Up to `count` training indices that stand for all."""
        length = len(self.sources["train"])
        return np.linspace(0, length - 1, min(length, count)).round().astype(int).tolist()

    @property
    def tells_visibility(self) -> bool:
        """Whether the labels know points that are hidden, or known to be absent, beside the visible ones."""
        return False

    def dataset(self, split: str) -> KeypointDataset:
        """The samples of one split; only those of train are augmented."""
        augment = self.augment if split == "train" else None
        seed, canvases = (self.seed, SPLITS.index(split)), None
        if self.device_caches:
            canvases = self.device_caches[split].matrices
        return KeypointDataset(self.sources[split], self.size, seed, augment, self.padding, canvases)

    def render(self, batch: dict[str, Any], split: str) -> dict[str, Any]:
        """The batch with its images, which a resident set makes where the batch is."""
        return self.device_caches[split].render(batch) if "warp" in batch else batch

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Called by Lightning on the device."""
        stage = self.trainer.state.stage if self.trainer else None
        return self.render(batch, "val" if stage is None else _SPLIT_OF.get(stage, "val"))

    def train_dataloader(self) -> DataLoader:
        return self._loader("train", shuffled=True)

    def val_dataloader(self) -> DataLoader:
        return self._loader("val", shuffled=False)

    def test_dataloader(self) -> DataLoader:
        return self._loader("test", shuffled=False)

    def state_dict(self) -> dict[str, Any]:
        """How many epochs were drawn, and where training is in the present one.

        Lightning keeps the state of loaders too, but comes to load it only where nothing asked for the number of
        steps before, as schedules do.
        """
        progress: Any = self.trainer.fit_loop.epoch_progress.current if self.trainer else None
        epochs = progress.processed if progress else 0
        position = self._training.state_dict() if self._training else {}
        # An epoch may end before its loader does (trainer.limit_train_batches).
        within = (position.get("epoch") or 0) >= epochs
        return {"epochs": epochs, "position": position if within else {}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on after what was drawn."""
        self.epochs, self._position = state_dict.get("epochs", 0), state_dict.get("position") or {}

    def sampler(self, split: str, shuffled: bool, rank: int, world: int) -> EpochSampler:
        """What one of `world` processes draws of a split."""
        length = len(self.sources[split])
        rounds = -(-self.epoch_steps * self.batch_size * world // length) if shuffled else 1
        return EpochSampler(length, self.seed if shuffled else None, rank, world, rounds)

    def _loader(self, split: str, shuffled: bool) -> DataLoader:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = self.sampler(split, shuffled, rank, world)
        # On resuming, workers fetch their first batches before Lightning calls set_epoch.
        sampler.set_epoch(self.epochs)
        loader = (ResumableLoader if shuffled else DataLoader)(
            self.dataset(split),
            self.batch_size,
            sampler=sampler,
            # A last batch of one or two samples would upset batch normalization.
            drop_last=shuffled and len(sampler) >= self.batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            prefetch_factor=4 if self.num_workers else None,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_one_thread,
            collate_fn=collate,
        )
        if isinstance(loader, ResumableLoader):
            self._training = loader
            loader.load_state_dict(self._position)
        return loader


class SyntheticData(KeypointData):
    """Scenes painted as they are needed: `train` new ones each epoch, the same `val` and `test` always."""

    def __init__(
        self,
        painter: Painter,
        size: int | Sequence[int],
        train: int,
        val: int,
        test: int,
        batch_size: int,
        num_workers: int | None,
        seed: int,
        augment: Augment | None = None,
    ) -> None:
        self.painter = painter
        self.lengths = {"train": train, "val": val, "test": test}
        if min(self.lengths.values()) < 1:
            raise ValueError(f"data.train, data.val and data.test must be at least 1, got {self.lengths}")
        super().__init__(size, batch_size, num_workers, seed, augment)

    def open(self) -> dict[str, Source]:
        """Scenes whose seeds differ between the splits."""
        return {
            split: PaintedScenes(self.painter, self.size, length, (self.seed, i), renewed=split == "train")
            for i, (split, length) in enumerate(self.lengths.items())
        }


def spare_cores() -> int:
    """How many processes to load with: one core each, one left to training, eight at most."""
    return min(8, max(1, len(os.sched_getaffinity(0)) - 1 if hasattr(os, "sched_getaffinity") else 1))


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(0)
