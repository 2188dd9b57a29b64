"""The data module of the user's own images and labels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from softpoint.data.augment import Augment
from softpoint.data.composites import Composite, CompositeCrops, Paster, composite_scenes
from softpoint.data.composites.cutouts import Cutter
from softpoint.data.crops import PIXELS, fitting_size, is_size_open
from softpoint.data.datamodule import KeypointData
from softpoint.data.dataset import KeypointDataset
from softpoint.data.device_cache import DeviceCache
from softpoint.data.labels_by_split import LabelsBySplit, digest_of_pixels
from softpoint.data.loaders import Loader
from softpoint.data.scene_samples import BOX, SceneSamples, check_anchor, close_note, finding_size
from softpoint.data.scenes import LabeledScenes
from softpoint.data.sources import LabeledImages, Source
from softpoint.data.stored_splits import pack_splits, unpack_splits
from softpoint.data.unlabeled import UnlabeledImages, WithUnlabeled
from softpoint.images import Reader
from softpoint.images.cache import PixelCache
from softpoint.images.channels import check_channels, count_channels
from softpoint.images.scan import Scan, scan
from softpoint.labels.boxes import BOX_SOURCES
from softpoint.labels.formats import check_exists
from softpoint.labels.label_sets import as_paths
from softpoint.labels.load import LoadedLabels, load_labels
from softpoint.labels.schema import UNLABELED, Labels
from softpoint.labels.source import LabelSource
from softpoint.labels.split import Split
from softpoint.suggest import check_choice

# Number of the random stream of pasted subjects, beside those of the splits.
_PASTED = 9

_log = logging.getLogger(__name__)


class LabeledData(KeypointData):
    """The user's own images and labels, see `KeypointData`.

    `prepare_data` reads the labels, decodes each image once (`LabelSource.verify`) and fills a cache on disk; other
    processes then find both. After `setup`, `by_split` has the samples split by split, whose arrays the sources share,
    `labels` and `loaded` are its samples, and `splits` the rows of each split.

    Args:
        source: labels and images, and how they are read.
        split: into train, val and test.
        loader, seed, augment: see `KeypointData`.
        size: of the network's input; None for one of about `pixels` that has the shape of the images or crops.
        pixels: of that input; "auto" for the usual number. A run may decide what is "auto" (`undecided`).
        epoch_steps: smallest number of steps of an epoch: a small set is gone through several times between two
            validations.
        statistics: "backbone" standardizes the input as the weights of the backbone expect it, "train" by mean and
            standard deviation of the training images; "auto" is "backbone" for RGB and gray.
        cache: "none", or "ram" or "disk" to decode each image once; several processes share one on disk.
        device_cache: keep all images on the training device and augment them there, see `DeviceCache`.
        unlabeled_images: images without labels that come with the training samples.
        anchor, finding_pixels, complete: of `LabelSource.mode` "multi": what marks a subject, "box" for the center of
            its box or the name of a keypoint; pixels of the input in which subjects are found, None for as many as
            their size asks for; and whether all subjects of an image are labeled, where nothing else is to be found.
        composite: subjects of other training images that are pasted into training images; None for none.
    """

    by_split: LabelsBySplit
    labels: Labels
    splits: dict[str, np.ndarray]

    def __init__(
        self,
        source: LabelSource,
        split: Split,
        loader: Loader,
        seed: int,
        size: int | Sequence[int] | None = None,
        pixels: int | str = "auto",
        epoch_steps: int = 50,
        statistics: str = "auto",
        cache: str = "none",
        device_cache: bool = False,
        augment: Augment | None = None,
        unlabeled_images: UnlabeledImages | None = None,
        anchor: str = BOX,
        finding_pixels: int | None = None,
        complete: bool = True,
        composite: Composite | None = None,
    ) -> None:
        super().__init__(size, loader, seed, augment)
        self.anchor, self.finding_pixels, self.complete = anchor, finding_pixels, complete
        check_choice("data.cache", cache, ("none", "ram", "disk"))
        check_choice("data.statistics", statistics, ("auto", "backbone", "train"))
        if type(epoch_steps) is not int or epoch_steps < 1:
            raise ValueError(f"data.epoch_steps={epoch_steps}: give a whole number from 1 on")
        if unlabeled_images is not None and source.mode != "image":
            raise ValueError(
                f"data.mode={source.mode}: data.unlabeled_images have no boxes to crop; set data.mode=image"
            )
        self.composite = composite if composite and composite.fraction else None
        if self.composite and (source.mode == "image" or device_cache):
            other = "data.mode=image" if source.mode == "image" else "data.device_cache=true"
            raise ValueError(
                f"data.composite.fraction={self.composite.fraction} pastes subjects beside those of an image, which"
                f" {other} leaves no place for; set data.mode=multi or instance, and data.device_cache=false"
            )
        if pixels != "auto" and (type(pixels) is not int or pixels < 1):
            raise ValueError(f"data.pixels={pixels}: give a whole number from 1024 (32 x 32) on, or auto")
        is_open = {"pixels": is_size_open(size, pixels), "batch_size": loader.batch_size == "auto"}
        self.undecided = frozenset(key for key, value in is_open.items() if value)
        self.pixels: int = PIXELS if pixels == "auto" else pixels  # type: ignore[assignment]
        self.source, self.split, self.epoch_steps = source, split, epoch_steps
        self.cache, self.device_cache, self.unlabeled_images = cache, device_cache, unlabeled_images
        self.channels = count_channels(check_channels(source.channels))
        self.standardizes = statistics == "train" or (statistics == "auto" and self.channels not in (1, 3))
        for one in (augment, unlabeled_images.augment if unlabeled_images else None):
            if one is not None:
                one.check_channels(self.channels)
        self.unlabeled: Source | None = None
        self.unlabeled_scans: Sequence[Scan] = ()
        self._reported = False
        if source.mode != "image":
            # A detector's file has those of this set alone.
            self.crops = {"padding": source.padding, "boxes": source.boxes if source.boxes in BOX_SOURCES else None}

    @cached_property
    def loaded(self) -> LoadedLabels:
        """The labels as read, validated and scanned, with their images."""
        return load_labels(self.source, group=self.split.group)

    @cached_property
    def reader(self) -> Reader:
        """The reader of the images, through the cache if there is one."""
        if self._cache_kind == "none":
            return self.loaded.image_folder
        images, sizes = self.loaded.labels.images, self.loaded.sizes
        return PixelCache.open(self.loaded.image_folder, images, sizes, self._cache_kind, self.source.cache_dir)

    def check_files(self) -> None:
        """Raise FileNotFoundError where labels are missing."""
        for path in as_paths(self.source.labels):
            check_exists(path, self.source.fetch)

    def prepare_data(self) -> None:
        """Scan the images, also those without labels, and fill the cache on disk, in one process per machine."""
        super().setup("fit")
        if self.trainer and self.unlabeled_images and self.trainer.state.fn in (None, "fit"):
            self._open_unlabeled(self.unlabeled_images)

    def open(self) -> dict[str, Source]:
        """Return the labeled images of each split."""
        loaded, reader = self.loaded, self.reader
        self.by_split = LabelsBySplit.of(loaded, self.split, self.seed)
        if not hasattr(self, "size"):
            self.size = fitting_size(loaded.shapes * self.padding, self.pixels)
        self.loaded = loaded = self.by_split.loaded
        self.labels, self.splits = loaded.labels, self.by_split.rows
        skip = self.source.on_error == "skip"
        sources: dict[str, Source] = {}
        for split in self.splits:
            part = self.by_split.part(split)
            if self.source.mode == "multi" and part.boxes is not None:
                scene = part.labels, part.sizes, reader, part.boxes, self.complete, skip
                self.scenes[split], part = LabeledScenes(*scene), part.with_box
            sources[split] = LabeledImages(part.labels, part.sizes, reader, part.boxes, skip)
        if self.scenes:
            check_anchor(self.anchor, loaded.labels.skeleton.names)
            self.finding_size = finding_size(loaded.sizes, loaded.crops, self.finding_pixels)
        return sources

    def decide_pixels(self, pixels: Sequence[int]) -> None:
        """Set the number of pixels of the input, before `setup`; it may grow through several ascending numbers."""
        sizes = [fitting_size(self.loaded.shapes * self.padding, number) for number in pixels]
        self.pixels, self.size = pixels[0], sizes[0]
        self.sizes = tuple(dict.fromkeys(sizes)) if self.can_grow else ()

    def setup(self, stage: str) -> None:
        """Open sources and caches."""
        super().setup(stage)
        if stage == "fit" and self.unlabeled_images is not None:
            self._open_unlabeled(self.unlabeled_images)
        if self.device_cache and not self.device_caches:
            # Test samples are the unrounded input of a predictor, which workers make.
            for split, augment in (("train", self.augment), ("val", None)):
                if not len(self.sources[split]):
                    continue
                self.device_caches[split] = DeviceCache(self.sources[split], self.size, augment, self.padding)

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the loader of training samples; the first time with a trainer, write the split and report leaks.

        The trainer makes its loaders after it restored a checkpoint, so a refused resume leaves the files of its run.
        """
        if self.trainer and self.trainer.is_global_zero and not self._reported:
            self._reported = True
            self.by_split.write(Path(self.trainer.default_root_dir))
        return super().train_dataloader()

    @property
    def has_hidden_points(self) -> bool:
        """True where training labels tell points of several states apart: visible, occluded or absent."""
        return len({*np.unique(self.labels.visibility[self.splits["train"]])} - {UNLABELED}) > 1

    @property
    def can_grow(self) -> bool:
        """Whether samples of any size can be made during a run."""
        return not self.device_cache and self.unlabeled_images is None

    @property
    def plane(self) -> Plane | None:
        """The plane that the images show; None where only pixels are known."""
        return self.source.plane

    @property
    def read_settings(self) -> dict[str, Any]:
        """Settings of data as values that were read: a homography as its numbers, for those who have no file of it."""
        plane = self.plane
        return {} if plane is None or self.source.homography is None else {"homography": plane.matrix.tolist()}

    @property
    def gray_note(self) -> str:
        """A line for images that are read as RGB, and are all gray; "" for others, and where none was scanned."""
        scans = self.loaded.scans.values()
        if self.source.channels != 3 or not scans or not all(scan.is_gray for scan in scans):
            return ""
        return "all images are gray, and are read as RGB; data.channels=1 trains on one channel\n"

    def dataset(self, split: str, unrounded: bool = False) -> KeypointDataset:
        """Return the samples of one split; those of train with unlabeled images, where there are any."""
        samples, extra = super().dataset(split, unrounded), self.unlabeled_images
        if split == "train" and not unrounded and self.composite:
            samples.source = CompositeCrops(self._paster, (self.seed, _PASTED, 0))
        if split != "train" or unrounded or extra is None or self.unlabeled is None:
            return samples
        return WithUnlabeled(samples, self.unlabeled, extra.augment, extra.per_sample)

    def scene_samples(self, split: str, augmented: bool = True) -> SceneSamples:
        """Return the whole images of a split; those of train with subjects of others, where some are pasted."""
        samples, scenes = super().scene_samples(split, augmented), self.scenes[split]
        if split == "train" and augmented and self.composite and isinstance(scenes, LabeledScenes):
            samples.source = composite_scenes(scenes, self._paster, (self.seed, _PASTED, 1))
        return samples

    @cached_property
    def _paster(self) -> Paster:
        """Subjects of training images, which alone are pasted."""
        crops, composite = self.sources["train"], self.composite
        assert isinstance(crops, LabeledImages) and composite is not None
        return Paster(Cutter(crops, composite.mask), composite)

    @property
    def several_note(self) -> str:
        """Lines about subjects to find: never more than one, too close to each other, or of several kinds; or ""."""
        if not self.scenes:
            return ""
        if not self.composite and len(set(self.labels.paths)) == len(self.labels) == len(self.loaded.crops):
            return "every image shows one subject: data.mode=image is simpler, and needs no finder\n"
        assert self.finding_size is not None
        note = close_note(self.scenes["train"], self.finding_size)
        if len(kinds := self.labels.categories) > 1:
            note += f"{', '.join(kinds)} are found as one kind; data.categories=[NAME] finds one of them alone\n"
        return note

    @property
    def _cache_kind(self) -> str:
        """The kind of cache; a file in place of memory where several processes share it."""
        shared = self.trainer is not None and self.trainer.world_size > 1
        return "disk" if self.cache == "ram" and shared else self.cache

    def _open_unlabeled(self, extra: UnlabeledImages) -> None:
        module = self.trainer.lightning_module if self.trainer else None
        if module is not None and not getattr(module, "learns_unlabeled", False):
            raise ValueError("data.unlabeled_images are used by semi=mean_teacher alone; add it, or remove them")
        if self.unlabeled is not None:
            return
        images = self.by_split.images
        held_out = [*images["val"], *images["test"]]
        folder, scans = self.loaded.image_folder, self.loaded.scans
        known = [scans[image] for image in held_out] if scans else scan(folder, held_out)
        settings = self._cache_kind, self.source.cache_dir
        self.unlabeled, self.unlabeled_scans = extra.open(self.skeleton, folder, known, *settings)

    def state_dict(self) -> dict[str, Any]:
        """Return the position of training, and the images of each split and of earlier models."""
        splits = self.by_split.images | ({"earlier": list(self.earlier_images)} if self.earlier_images else {})
        return super().state_dict() | {"splits": pack_splits(splits), "checksums": self.checksums}

    @cached_property
    def checksums(self) -> dict[str, str]:
        """Digests of the values of the labels, of the boxes of crops, and of the pixels of images that were scanned."""
        unlabeled = {scan.image: scan for scan in self.unlabeled_scans}
        pixels = {"unlabeled_images": digest_of_pixels(unlabeled)} if unlabeled else {}
        return self.by_split.checksums() | pixels

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue after the samples that were drawn; ValueError for another split: it would test trained images."""
        super().load_state_dict(state_dict)
        before = unpack_splits(state_dict["splits"])
        self.earlier_images = before.get("earlier", ())
        self.by_split.check_stored(before)
        if self.trainer and self.trainer.state.fn == "test":
            return  # of the run's own best checkpoint
        digests = state_dict.get("checksums", {})
        if changed := [part for part, digest in self.checksums.items() if digests.get(part, digest) != digest]:
            _log.warning(
                "the values of the %s are not those that the run was trained on so far; it goes on with the new ones",
                " and the ".join(changed).replace("_", " "),
            )
