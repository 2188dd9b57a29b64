"""Lightning's view of the data: three sets, their loaders, and what a checkpoint remembers of them."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader

from softpoint.data.augment import Augment
from softpoint.data.dataset import EpochSampler, KeypointDataset, collate
from softpoint.data.formats import read_labels
from softpoint.data.labels import Labels, check
from softpoint.data.skeleton import Skeleton
from softpoint.data.sources import LabelledImages, PaintedScenes, Painter, Source
from softpoint.data.splits import SPLITS, carve_val, read_splits, seeded_split, write_splits

Pairs = Sequence[tuple[str, str]]

_log = logging.getLogger(__name__)


class KeypointData(pl.LightningDataModule, ABC):
    """Train, val and test sets of one size, from sources that a subclass opens.

    Args:
        size: (height, width) of what the network sees, or one number for a square.
        batch_size: samples per process and step.
        num_workers: processes that load; 0 loads in the main one.
        seed: decides order, augmentation and, where there is one, the split.
        augment: changes to training samples; None for none.
    """

    def __init__(
        self, size: int | Sequence[int], batch_size: int, num_workers: int, seed: int, augment: Augment | None
    ) -> None:
        super().__init__()
        self.size = (size, size) if isinstance(size, int) else (size[0], size[1])
        if min(self.size) < 1 or batch_size < 1:
            raise ValueError(f"data.size {list(self.size)} and data.batch_size {batch_size} must be positive")
        self.batch_size, self.num_workers, self.seed, self.augment = batch_size, num_workers, seed, augment
        self.epochs = 0  # that a resumed run has behind it
        self.sources = self.open()

    @abstractmethod
    def open(self) -> dict[str, Source]:
        """A source for each of train, val and test."""

    @property
    def skeleton(self) -> Skeleton:
        """Names, pairs and edges of the keypoints."""
        return self.sources["train"].skeleton

    @property
    def summary(self) -> str:
        """What there is to train on, in one phrase."""
        counts = ", ".join(f"{len(source)} {split}" for split, source in self.sources.items())
        return f"{len(self.skeleton)} keypoints, images {counts}, {self.size[0]}x{self.size[1]}"

    @abstractmethod
    def mean_position(self) -> np.ndarray:
        """Mean of each keypoint over the training set (K, 2), as a fraction of width and height: a baseline."""

    def dataset(self, split: str) -> KeypointDataset:
        """The samples of one split; only those of train are augmented."""
        augment = self.augment if split == "train" else None
        return KeypointDataset(self.sources[split], self.size, (self.seed, SPLITS.index(split)), augment)

    def train_dataloader(self) -> DataLoader:
        return self._loader("train", shuffled=True)

    def val_dataloader(self) -> DataLoader:
        return self._loader("val", shuffled=False)

    def test_dataloader(self) -> DataLoader:
        return self._loader("test", shuffled=False)

    def state_dict(self) -> dict[str, Any]:
        """How many epochs were drawn."""
        progress: Any = self.trainer.fit_loop.epoch_progress.current if self.trainer else None
        return {"epochs": progress.processed if progress else 0}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with the epoch after those."""
        self.epochs = state_dict.get("epochs", 0)

    def _loader(self, split: str, shuffled: bool) -> DataLoader:
        dataset = self.dataset(split)
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = EpochSampler(len(dataset), self.seed if shuffled else None, rank, world)
        # On resuming, workers fetch their first batches before Lightning calls set_epoch.
        sampler.set_epoch(self.epochs)
        return DataLoader(
            dataset,
            self.batch_size,
            sampler=sampler,
            # A last batch of one or two samples would upset batch normalisation.
            drop_last=shuffled and len(sampler) >= self.batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=_one_thread,
            collate_fn=collate,
        )


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
        num_workers: int,
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

    def mean_position(self) -> np.ndarray:
        """Estimated from the first scenes of the first epoch."""
        source = self.sources["train"]
        scenes = [source.load(0, i).keypoints for i in range(min(len(source), 256))]
        return (np.mean(scenes, 0) + 0.5) / self.size[::-1]


class LabelledData(KeypointData):
    """The user's own pictures and labels.

    Args:
        labels: a label file; `format` overrides how it is recognised.
        images: the folder that the paths in it start from.
        keypoints: train on these keypoints alone, by name.
        flip_pairs, edges: override what the labels say or their names suggest.
        splits: a CSV that assigns images to train, val and test; without val, val is taken out of train.
        val, test: fractions of the images, for a split by `seed`.
        outside: "error", or "drop" to unlabel points that lie outside their image.
    """

    def __init__(
        self,
        labels: str | Path,
        images: str | Path,
        size: int | Sequence[int],
        batch_size: int,
        num_workers: int,
        seed: int,
        augment: Augment | None = None,
        format: str | None = None,
        keypoints: Sequence[str] | None = None,
        flip_pairs: Pairs | None = None,
        edges: Pairs | None = None,
        splits: str | Path | None = None,
        val: float = 0.1,
        test: float = 0.1,
        outside: str = "error",
    ) -> None:
        found = read_labels(labels, format)
        found = found if keypoints is None else found.with_keypoints(keypoints)
        found = _with_pairs(found, flip_pairs, edges)
        self.folder = Path(images)
        self.labels, self.image_sizes = check(found, self.folder, outside)
        self.splits = self._split(splits, val, test, seed)
        for split, rows in self.splits.items():
            if not (self.labels.visibility[rows] > 0).any():
                raise ValueError(
                    f"none of the {len(rows)} {split} images has a labelled point in {labels}; "
                    "move labelled images there by data.splits, or change seed"
                )
        super().__init__(size, batch_size, num_workers, seed, augment)

    def open(self) -> dict[str, Source]:
        """The labelled images of each split."""
        return {
            split: LabelledImages(self.labels.select(indices), self.folder, self.image_sizes[indices])
            for split, indices in self.splits.items()
        }

    def mean_position(self) -> np.ndarray:
        """Over the labelled training points; the middle of the image for a keypoint that is never labelled."""
        train = self.splits["train"]
        fractions = (self.labels.keypoints[train] + 0.5) / self.image_sizes[train][:, None, ::-1]
        known = np.isfinite(fractions)
        return np.where(known, fractions, 0).sum(0) / known.sum(0).clip(1) + 0.5 * ~known.any(0)

    def setup(self, stage: str) -> None:
        """Keep the split with the run, where a later run can be given it as data.splits."""
        if stage == "fit" and self.trainer and self.trainer.is_global_zero:
            write_splits(Path(self.trainer.default_root_dir) / "splits.csv", self.labels.images, self.splits)

    def state_dict(self) -> dict[str, Any]:
        """The epochs drawn and the split, by image."""
        images = {split: [self.labels.images[i] for i in rows] for split, rows in self.splits.items()}
        return super().state_dict() | {"splits": images}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuses to go on with another split, which would test on what was trained on."""
        super().load_state_dict(state_dict)
        for split, images in self.state_dict()["splits"].items():
            moved = set(images) ^ set(state_dict["splits"].get(split, ()))
            if moved:
                raise ValueError(
                    f"the checkpoint was trained on another split: {len(moved)} images differ in {split}, first "
                    f"{min(moved)}; set data.splits to the splits.csv of its run, or start anew without ckpt_path"
                )

    def _split(self, file: str | Path | None, val: float, test: float, seed: int) -> dict[str, np.ndarray]:
        if file is None:
            return _split_by_folder(self.labels, seed, val, test)
        splits = read_splits(file, self.labels.images)
        if not len(splits["val"]):
            splits["train"], splits["val"] = carve_val(splits["train"], seed, val, self.labels.groups)
        return splits


def _split_by_folder(labels: Labels, seed: int, val: float, test: float) -> dict[str, np.ndarray]:
    """Whole folders in each split, unless that would hold out more than twice what was asked for."""
    splits = seeded_split(len(labels), seed, val, test, labels.groups)
    held = len(splits["val"]) + len(splits["test"])
    if held <= 2 * max(2, (val + test) * len(labels)):
        return splits
    _log.warning(
        "whole folders for val and test would take %d of %d images, so single images are split instead: neighbours"
        " in a video may stand on both sides; name a split in data.splits",
        held,
        len(labels),
    )
    return seeded_split(len(labels), seed, val, test)


def _with_pairs(labels: Labels, flip_pairs: Pairs | None, edges: Pairs | None) -> Labels:
    skeleton = labels.skeleton
    if flip_pairs is not None:
        skeleton = replace(skeleton, flip_pairs=tuple((left, right) for left, right in flip_pairs))
    if edges is not None:
        skeleton = replace(skeleton, edges=tuple((start, end) for start, end in edges))
    return replace(labels, skeleton=skeleton)


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(0)
