"""The data module of the user's own images and labels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.data.augment import Augment
from softpoint.data.crops import fitting_size
from softpoint.data.datamodule import KeypointData, Loader
from softpoint.data.dataset import KeypointDataset
from softpoint.data.device_cache import DeviceCache
from softpoint.data.sources import LabeledImages, Source
from softpoint.data.unlabeled import UnlabeledImages, WithUnlabeled
from softpoint.images import Reader
from softpoint.images.cache import PixelCache
from softpoint.images.duplicates import across_splits, describe_leaks
from softpoint.images.scan import scan
from softpoint.labels.load import LabelSource, LoadedLabels, load_labels
from softpoint.labels.schema import ABSENT, OCCLUDED, Labels
from softpoint.labels.split import Split, images_of, split_labels, with_groups, write_splits
from softpoint.suggest import check_choice

_log = logging.getLogger(__name__)


class LabeledData(KeypointData):
    """The user's own images and labels, see `KeypointData`.

    `prepare_data` reads the labels, decodes each image once (`LabelSource.verify`) and fills a cache on disk; other
    processes then find both. After `setup`, `labels` and `splits` hold the samples and the rows of each split.

    Args:
        source: labels and images, and how they are read.
        split: into train, val and test.
        loader, seed, augment: see `KeypointData`.
        size: of the network's input; None for one of about `pixels` that has the shape of the images or crops.
        epoch_steps: smallest number of steps of an epoch: a small set is gone through several times between two
            validations.
        cache: "none", or "ram" or "disk" to decode each image once; several processes share one on disk.
        device_cache: keep all images on the training device and augment them there, see `DeviceCache`.
        unlabeled_images: images without labels that come with the training samples.
    """

    labels: Labels
    splits: dict[str, np.ndarray]

    def __init__(
        self,
        source: LabelSource,
        split: Split,
        loader: Loader,
        seed: int,
        size: int | Sequence[int] | None = None,
        pixels: int = 110_592,
        epoch_steps: int = 50,
        cache: str = "none",
        device_cache: bool = False,
        augment: Augment | None = None,
        unlabeled_images: UnlabeledImages | None = None,
    ) -> None:
        super().__init__(size, loader, seed, augment)
        check_choice("data.cache", cache, ("none", "ram", "disk"))
        if epoch_steps < 1:
            raise ValueError(f"data.epoch_steps={epoch_steps} must be at least 1")
        if unlabeled_images is not None and source.mode != "image":
            raise ValueError(
                f"data.mode={source.mode}: data.unlabeled_images have no boxes to crop; set data.mode=image"
            )
        self.source, self.split, self.pixels, self.epoch_steps = source, split, pixels, epoch_steps
        self.cache, self.device_cache, self.unlabeled_images = cache, device_cache, unlabeled_images
        self.unlabeled: Source | None = None
        self._reported = False
        if source.mode == "instance":
            self.crops = {"padding": source.padding, "boxes": source.boxes}

    @cached_property
    def loaded(self) -> LoadedLabels:
        """The labels as read, validated and scanned, with their images."""
        return load_labels(self.source)

    def prepare_data(self) -> None:
        """Scan the images, and fill the cache on disk, in one process per machine."""
        loaded = self.loaded
        if self._cache_kind == "disk":
            self._reader(loaded)

    def open(self) -> dict[str, Source]:
        """Return the labeled images of each split."""
        loaded = self.loaded
        reader = self._reader(loaded)
        self.labels = with_groups(loaded.labels, self.split.group)
        self.splits = split_labels(self.labels, self.split, self.seed)
        if not hasattr(self, "size"):
            self.size = fitting_size(loaded.shapes * self.padding, self.pixels)
        boxes = loaded.boxes
        return {
            split: LabeledImages(
                self.labels.select(rows), loaded.sizes[rows], reader, None if boxes is None else boxes[rows]
            )
            for split, rows in self.splits.items()
        }

    def setup(self, stage: str) -> None:
        """Open sources and caches; with a trainer, write the split and skipped rows to its folder and report leaks."""
        super().setup(stage)
        if stage == "fit" and self.trainer and self.trainer.is_global_zero and not self._reported:
            self._reported = True
            self._write_split(Path(self.trainer.default_root_dir))
        if stage == "fit" and self.unlabeled_images is not None:
            module = self.trainer.lightning_module if self.trainer else None
            if module is not None and not getattr(module, "learns_unlabeled", False):
                raise ValueError("data.unlabeled_images are used by semi=mean_teacher alone; add it, or remove them")
            if self.unlabeled is None:
                self.unlabeled = self._open_unlabeled(self.unlabeled_images)
        if self.device_cache and not self.device_caches:
            for split, source in self.sources.items():
                augment = self.augment if split == "train" else None
                self.device_caches[split] = DeviceCache(source, self.size, augment, self.padding)

    @property
    def has_hidden_points(self) -> bool:
        """True where training labels hold occluded or absent points beside the visible ones."""
        return bool(np.isin(self.labels.visibility[self.splits["train"]], (OCCLUDED, ABSENT)).any())

    def dataset(self, split: str) -> KeypointDataset:
        """Return the samples of one split; those of train with unlabeled images, where there are any."""
        samples, extra = super().dataset(split), self.unlabeled_images
        if split != "train" or extra is None or self.unlabeled is None:
            return samples
        return WithUnlabeled(samples, self.unlabeled, extra.augment, extra.per_sample)

    @property
    def _cache_kind(self) -> str:
        """The kind of cache; a file in place of memory where several processes share it."""
        shared = self.trainer is not None and self.trainer.world_size > 1
        return "disk" if self.cache == "ram" and shared else self.cache

    def _reader(self, loaded: LoadedLabels) -> Reader:
        if self._cache_kind == "none":
            return loaded.image_folder
        images = loaded.labels.images
        return PixelCache.open(loaded.image_folder, images, loaded.sizes, self._cache_kind, self.source.cache_dir)

    def _write_split(self, folder: Path) -> None:
        write_splits(folder / "splits.csv", self.labels.images, self.splits)
        if skipped := self.loaded.errors.skipped:
            (folder / "skipped.txt").write_text("\n".join([*skipped, ""]), encoding="utf-8")
        if scans := self.loaded.scans:
            place = {image: i for i, image in enumerate(scans)}
            images = images_of(self.labels, self.splits)
            rows = {split: sorted({place[image] for image in names}) for split, names in images.items()}
            if leaks := across_splits(list(scans.values()), rows):
                _log.warning("%s", describe_leaks(leaks))

    def _open_unlabeled(self, extra: UnlabeledImages) -> Source:
        images = images_of(self.labels, self.splits)
        held_out = [*images["val"], *images["test"]]
        folder, scans = self.loaded.image_folder, self.loaded.scans
        known = [scans[image] for image in held_out] if scans else scan(folder, held_out)
        return extra.open(self.skeleton, folder, known, self._cache_kind, self.source.cache_dir)

    def state_dict(self) -> dict[str, Any]:
        """Return the position of training, and the images of each split."""
        return super().state_dict() | {"splits": images_of(self.labels, self.splits)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue after the samples that were drawn; ValueError for another split: it would test trained images."""
        super().load_state_dict(state_dict)
        for split, images in images_of(self.labels, self.splits).items():
            if moved := set(images) ^ set(state_dict["splits"].get(split, ())):
                raise ValueError(
                    f"the checkpoint was trained on another split: {len(moved)} images differ in {split}, first "
                    f"{min(moved)}; set data.splits to the splits.csv of its run, or start again without ckpt_path"
                )
