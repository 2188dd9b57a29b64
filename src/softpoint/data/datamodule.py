"""Data modules for Lightning: three splits, their loaders, and the position of training in a checkpoint."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import RunningStage
from torch.utils.data import DataLoader

from softpoint.data.augment import Augment
from softpoint.data.crops import check_size, input_matrix
from softpoint.data.dataset import KeypointDataset
from softpoint.data.device_cache import DeviceCache
from softpoint.data.geometry import transform
from softpoint.data.loaders import EpochSampler, Loader, ResumableLoader, collate
from softpoint.data.scene_samples import BOX, SceneSamples, WithScenes
from softpoint.data.scenes import SceneSource
from softpoint.data.sources import Source
from softpoint.data.watched_loader import WatchedLoader
from softpoint.labels.partition import evenly_spaced
from softpoint.labels.plane import Plane
from softpoint.labels.skeleton import Skeleton
from softpoint.labels.split import SPLITS

_SCENES = 1  # number of the random stream of whole images, beside that of the crops of a split

_PREFETCHED = 4  # batches of each loading process

_SPLIT_OF = {RunningStage.TRAINING: "train", RunningStage.TESTING: "test"}


class KeypointData(pl.LightningDataModule, ABC):
    """Train, val and test splits of keypoint samples.

    A subclass opens its sources in `open`. The constructor reads no file; after `prepare_data()` and `setup(stage)`,
    which Lightning calls and which may be called before, `sources`, `size`, `skeleton` and all that follow from them
    are there. `prepare_data` runs in one process per machine: what must happen once, such as decoding, belongs there.

    Args:
        size: (height, width) of the network's input, or one number for a square; None where `open` sets it.
        loader: size of batches and number of workers.
        seed: of order, augmentation and, where there is one, the split.
        augment: of training samples; None for none.
    """

    # Height and width of the network's input.
    size: tuple[int, int]

    # Padding and source of the boxes of crops, for a checkpoint; None where samples show whole images.
    crops: dict[str, Any] | None = None

    # Whole images of each split in which a finder learns to find subjects, height and width of its input, and what
    # marks a subject (`data.scenes.SceneSamples`); empty and None where the network finds none.
    scenes: dict[str, SceneSource]
    finding_size: tuple[int, int] | None = None
    anchor: str = BOX

    # Images that do not train, but that a model from which the training starts has learned.
    earlier_images: Sequence[str] = ()

    # C, the number of channels of every image.
    channels: int = 3

    # Whether the input is standardized by the statistics of the training images, not by those of the backbone.
    standardizes: bool = False

    # Settings that are open: a run that minutes end decides them by the speed of its machine.
    undecided: frozenset[str] = frozenset()

    # Sizes that the input of a run may grow through, from its first one on; empty where it keeps its size.
    sizes: tuple[tuple[int, int], ...] = ()

    # Smallest number of steps of an epoch: a small set is gone through several times between two validations.
    epoch_steps: int = 1

    def __init__(
        self, size: int | Sequence[int] | None, loader: Loader, seed: int, augment: Augment | None = None
    ) -> None:
        super().__init__()
        self._sized = size is not None
        if size is not None:
            self.size = check_size(size)
        self.loader, self.batch_size, self.seed, self.augment = loader, loader.images, seed, augment
        self.sources: dict[str, Source] = {}
        self.scenes = {}
        self.device_caches: dict[str, DeviceCache] = {}
        self.epochs = 0  # completed before this run was resumed
        self._training: ResumableLoader | None = None
        self._samplers: dict[str, EpochSampler] = {}
        self._position: dict[str, Any] = {}  # of training, from a checkpoint

    @abstractmethod
    def open(self) -> dict[str, Source]:
        """Return a source for each of train, val and test, and set `size` where it is not given."""

    def check_files(self) -> None:
        """Raise FileNotFoundError where files are missing, before anything is read or downloaded."""

    def setup(self, stage: str) -> None:
        """Open the sources, once."""
        if not self.sources:
            self.sources = self.open()

    @property
    def read_settings(self) -> dict[str, Any]:
        """Settings data.* of reading that the data decides, for a checkpoint; empty where the config states them."""
        return {}

    @property
    def can_grow(self) -> bool:
        """Whether samples of any size can be made during a run."""
        return False

    @property
    def next_size(self) -> tuple[int, int] | None:
        """Height and width that the input may grow to; None for the largest, and where it keeps its size."""
        later = self.sizes[self.sizes.index(self.size) + 1 :] if self.size in self.sizes else ()
        return later[0] if later else None

    @property
    def ahead(self) -> int:
        """Largest number of batches that are loaded, or begun, before they are needed."""
        return _PREFETCHED * self.loader.workers

    def resize(self, size: tuple[int, int]) -> None:
        """Give samples that are not loaded yet another (height, width)."""
        self.size = size
        for sampler in self._samplers.values():
            sampler.size = size

    @property
    def padding(self) -> float:
        """Factor by which a crop is larger than its box."""
        return 1.0 if self.crops is None else float(self.crops["padding"])

    @property
    def plane(self) -> Plane | None:
        """The plane that the images show; None where only pixels are known."""
        return None

    @property
    def skeleton(self) -> Skeleton:
        """Names, flip pairs and edges of the keypoints."""
        return self.sources["train"].skeleton

    @property
    def summary(self) -> str:
        """Number of keypoints and images, and the input size, in one phrase."""
        counts, whole = (
            ", ".join(f"{len(source)} {split}" for split, source in parts.items())
            for parts in (self.sources, self.scenes)
        )
        size = f"{self.size[0]}x{self.size[1]}"
        if self.finding_size is None:
            return f"{len(self.skeleton)} keypoints, images {counts}, {size}"
        finding = f"{self.finding_size[0]}x{self.finding_size[1]}"
        return (
            f"{len(self.skeleton)} keypoints, subjects {counts} in crops of {size}, found in {finding}: images {whole}"
        )

    @property
    def default_epochs(self) -> int:
        """Number of epochs for a set of this size: 1,500 steps, and ten times through the set."""
        once = len(self.sources["train"]) / self.batch_size
        return math.ceil((1500 + 10 * once) * self.batch_size / len(self.sampler("train", True, 0, 1)))

    @property
    def has_hidden_points(self) -> bool:
        """True where training labels hold occluded or absent points beside the visible ones."""
        return False

    def color_statistics(self) -> tuple[list[float], list[float]]:
        """Return mean and standard deviation of each channel, in [0, 1], of up to 200 training images."""
        moments = np.zeros((2, self.channels))
        indices = self.typical_indices(200)
        for index in indices:
            pixels = self.sources["train"].load(0, index).image.reshape(-1, self.channels) / np.float32(255)
            moments += np.stack([pixels.mean(0, dtype=np.float64), np.square(pixels).mean(0, dtype=np.float64)])
        mean, square = moments / len(indices)
        # A channel without any contrast is no reason to divide by zero.
        std = np.sqrt(np.maximum(square - mean**2, 1 / 255**2))
        return mean.round(6).tolist(), std.round(6).tolist()

    def mean_position(self) -> np.ndarray:
        """Return each keypoint's mean (K, 2) in input pixels over up to 1,000 unaugmented training samples.

        A baseline; the middle of the input for a keypoint that none of them has.
        """
        records = [self.sources["train"].describe(index) for index in self.typical_indices(1000)]
        matrices = [input_matrix(record.size, record.box, self.size, self.padding) for record in records]
        points = np.array([transform(r.keypoints, matrix) for r, matrix in zip(records, matrices, strict=True)])
        labeled, middle = np.isfinite(points), (np.array(self.size[::-1]) - 1) / 2
        mean = np.where(labeled, points, 0).sum(0) / labeled.sum(0).clip(1)
        return np.where(labeled.any(0), mean, middle)

    def typical_indices(self, count: int) -> Sequence[int]:
        """Return up to `count` indices of training samples that represent all."""
        return evenly_spaced(len(self.sources["train"]), count)

    def dataset(self, split: str, unrounded: bool = False) -> KeypointDataset:
        """Return the samples of one split, augmented ones of train.

        Those of test, and of any split with `unrounded`, are the unrounded input of a predictor, not augmented.
        """
        augment = self.augment if split == "train" and not unrounded else None
        unrounded, seed = unrounded or split == "test", (self.seed, SPLITS.index(split))
        canvases = self.device_caches[split].matrices if self.device_caches and not unrounded else None
        samples = KeypointDataset(self.sources[split], self.size, seed, augment, self.padding, canvases, unrounded)
        return (
            WithScenes(samples, self.scene_samples(split))
            if self.scenes and split == "train" and not unrounded
            else samples
        )

    def scene_samples(self, split: str, augmented: bool = True) -> SceneSamples:
        """Return the whole images of a split, with the subjects to find; those of train are augmented."""
        assert self.finding_size is not None
        augment = self.augment if split == "train" and augmented else None
        seed = (self.seed, SPLITS.index(split), _SCENES)
        return SceneSamples(self.scenes[split], self.finding_size, self.anchor, seed, augment)

    def render(self, batch: dict[str, Any], split: str) -> dict[str, Any]:
        """Return the batch with its images, which a device cache makes on the batch's device."""
        return self.device_caches[split].render(batch) if "warp" in batch else batch

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Render a batch on its device; called by Lightning."""
        stage = self.trainer.state.stage if self.trainer else None
        return self.render(batch, "val" if stage is None else _SPLIT_OF.get(stage, "val"))

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the loader of shuffled, augmented training samples, at the position of a resumed run."""
        return self._loader("train", shuffled=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the loader of validation samples, in order."""
        return self._loader("val", shuffled=False)

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the loader of test samples, in order."""
        return self._loader("test", shuffled=False)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of completed epochs, and the position of training in the present one.

        Lightning keeps the state of loaders too, but does not load it once a schedule has read the number of steps.
        """
        progress: Any = self.trainer.fit_loop.epoch_progress.current if self.trainer else None
        epochs = progress.processed if progress else 0
        position = self._training.state_dict() if self._training else {}
        # An epoch may end before its loader does (trainer.limit_train_batches).
        within = (position.get("epoch") or 0) >= epochs
        state = {"epochs": epochs, "position": position if within else {}}
        return state | {"size": self.size, "sizes": self.sizes} if self.sizes else state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue after the samples that were drawn."""
        self.epochs, self._position = state_dict.get("epochs", 0), state_dict.get("position") or {}
        self.restore_size(state_dict)

    def restore_size(self, state_dict: dict[str, Any]) -> None:
        """Take the size that an input has grown to: of a tested checkpoint always, else where none was given.

        Raises ValueError where samples keep their size.
        """
        if not (sizes := state_dict.get("sizes")):
            return
        size, testing = state_dict["size"], self.trainer is not None and self.trainer.state.fn == "test"
        if not testing and (self._sized or self.size not in (sizes[0], *self.sizes)):
            return
        if not testing and not self.can_grow and size != self.size:
            raise ValueError(
                f"the input of the run has grown to {size[0]}x{size[1]}, which data.device_cache=true and"
                f" data.unlabeled_images cannot follow; set data.size=[{size[0]},{size[1]}]"
            )
        self.sizes = sizes if self.can_grow else ()
        self.resize(size)

    def sampler(self, split: str, shuffled: bool, rank: int, world: int) -> EpochSampler:
        """Return the sampler of one of `world` processes."""
        length = len(self.sources[split])
        rounds = -(-self.epoch_steps * self.batch_size * world // length) if shuffled else 1
        return EpochSampler(length, self.seed if shuffled else None, rank, world, rounds)

    def batches(self, split: str) -> int:
        """Return the number of batches that this process goes through in an epoch, or a validation or test."""
        return len(self._loader(split, shuffled=split == "train"))

    def _loader(self, split: str, shuffled: bool) -> DataLoader[Any]:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = self._samplers[split] = self.sampler(split, shuffled, rank, world)
        # On resuming, workers fetch their first batches before Lightning calls set_epoch.
        sampler.set_epoch(self.epochs)
        batch_size, workers = self.batch_size, self.loader.workers
        loader = (ResumableLoader if shuffled else WatchedLoader)(
            self.dataset(split),
            batch_size,
            sampler=sampler,
            # A last batch of one or two samples would upset batch normalization.
            drop_last=shuffled and len(sampler) >= batch_size,
            num_workers=workers,
            persistent_workers=workers > 0,
            prefetch_factor=_PREFETCHED if workers else None,
            pin_memory=torch.cuda.is_available(),
            collate_fn=collate,
            # Of its own, so that the beginning of an epoch draws nothing from the one that a network uses.
            generator=torch.Generator(),
        )
        loader.wait = self.loader.timeout
        if isinstance(loader, ResumableLoader):
            self._training = loader
            loader.load_state_dict(self._position)
        return loader
