"""The user's own images and labels as data that Lightning trains on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.data.augment import Augment
from softpoint.data.crops import fitting_size
from softpoint.data.datamodule import KeypointData
from softpoint.data.dataset import KeypointDataset
from softpoint.data.device_cache import DeviceCache
from softpoint.data.sources import LabeledImages, Source
from softpoint.data.unlabeled import Unlabeled, WithUnlabeled
from softpoint.images import ImageFolder, Reader
from softpoint.images.cache import Cached
from softpoint.images.decode import MAX_PIXELS
from softpoint.images.duplicates import across_splits, describe_leaks
from softpoint.images.scan import memo_of, scan
from softpoint.labels.filter import decodable, one_a_sample
from softpoint.labels.formats import read_labels
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import ABSENT, OCCLUDED, Labels, choose
from softpoint.labels.split import Split, carve_val, find_groups, fold_split, seeded_split, stated_split
from softpoint.labels.split_file import read_splits, write_splits
from softpoint.labels.subset import limited
from softpoint.labels.validate import check
from softpoint.paths import user_cache_dir
from softpoint.suggest import did_you_mean

Pairs = Sequence[tuple[str, str]]

_log = logging.getLogger(__name__)


class LabeledData(KeypointData):
    """The user's own images and labels.

    Args:
        labels: a label file or the folder of a project; `format` overrides how it is recognized.
        images: the folder that the paths in it start from; None for where the labels are.
        mode: "image" shows the network whole images with one subject each, "instance" one crop a subject.
        boxes: in instance mode, "labels" or "keypoints" to take boxes from; None for the first that there is.
        padding: how many times larger than its box a crop is.
        size: of the network's input; None for one of about `pixels` that has the shape of the images or crops.
        categories, keypoints: train on these alone, by name.
        epoch_steps: of an epoch, at least: a small set is gone through several times between two validations.
        flip_pairs, edges: override what the labels say or their names suggest.
        unlabeled: "unknown", or "absent" where an unlabeled point means that it is not in the image.
        splits: a CSV that assigns images to train, val and test; without val, val is taken out of train.
        val, test: fractions of the images, for a split by `split_seed` (None for `seed`); `fold` of `folds` instead
            of `test` cross-validates.
        limit, limit_groups: train on so many images, or whole groups, alone (see `limited`); val and test stay.
        group: a regular expression on the path; what it finds is never divided by a split. None for the
            folder or video, "none" for single images.
        outside: "error", or "drop" to unlabel points that lie outside their image.
        on_error: "error", or "skip" to leave out rows and images that cannot be used.
        exif, max_pixels: see `ImageFolder`.
        cache, cache_dir: see `Cache`.
        resident: keep all images on the training device, and change them there.
        unlabeled_images: images without labels that come with the training samples (see `WithUnlabeled`).
        fetch: the public set that the labels belong to, for the message that they are missing.
        verify: decode every image once before training, to find the damaged ones and those that stand,
            nearly, in two splits; what was found is remembered until an image changes.
    """

    def __init__(
        self,
        labels: str | Path,
        size: int | Sequence[int] | None,
        batch_size: int,
        num_workers: int | None,
        seed: int,
        images: str | Path | None = None,
        augment: Augment | None = None,
        format: str | None = None,
        mode: str = "image",
        boxes: str | None = None,
        padding: float = 1.25,
        pixels: int = 65536,
        epoch_steps: int = 1,
        categories: Sequence[str] | None = None,
        keypoints: Sequence[str] | None = None,
        flip_pairs: Pairs | None = None,
        edges: Pairs | None = None,
        unlabeled: str = "unknown",
        splits: str | Path | None = None,
        val: float = 0.1,
        test: float = 0.1,
        split_seed: int | None = None,
        fold: int | None = None,
        folds: int | None = None,
        limit: int | None = None,
        limit_groups: int | None = None,
        group: str | None = None,
        outside: str = "error",
        on_error: str = "error",
        exif: str = "error",
        max_pixels: int = MAX_PIXELS,
        cache: str = "none",
        cache_dir: str | Path | None = None,
        resident: bool = False,
        verify: bool = True,
        unlabeled_images: Unlabeled | None = None,
        fetch: str | None = None,
    ) -> None:
        _choice("mode", mode, ("image", "instance"))
        _choice("unlabeled", unlabeled, ("unknown", "absent"))
        if unlabeled_images is not None and mode != "image":
            raise ValueError(
                f"data.mode={mode}: nothing says where subjects are in data.unlabeled_images; use mode=image"
            )
        self.problems = problems = RowErrors(str(labels), on_error)
        found = read_labels(labels, format, on_error, images, fetch, problems)
        found = choose(found, categories, keypoints, flip_pairs, edges)
        self.image_folder = ImageFolder(Path(images or found.folder), exif, max_pixels)
        found, sizes = check(found, self.image_folder, problems, outside)
        memo = memo_of(self.image_folder, user_cache_dir(cache_dir))
        self.scans = scan(self.image_folder, list(dict.fromkeys(found.images)), memo) if verify else []
        found, sizes = decodable(found, sizes, self.scans, problems)
        self.labels, self.image_sizes, self.boxes = one_a_sample(found, sizes, mode, boxes, problems)
        if mode == "instance":
            self.crops = {"padding": padding, "boxes": boxes}
        groups = find_groups(self.labels, group)
        drawn = seed if split_seed is None else split_seed
        stated = stated_split(self.labels, groups, drawn, val) if splits is fold is group is None else None
        self.splits = stated or _split(self.labels, groups, splits, drawn, val, test, fold, folds)
        _tell_shares(self.splits, None if stated or splits or folds else test)
        self.splits["train"] = limited(self.labels, groups, self.splits["train"], seed, limit, limit_groups)
        _each_has_labels(self.labels, self.splits)
        if unlabeled == "absent":
            self.labels = _absent(self.labels)
        _choice("cache", cache, ("none", "ram", "disk"))
        self.cache, self.cache_dir, self.resident = cache, cache_dir, resident
        self.reader: Reader = self.image_folder
        self.unlabeled_images = unlabeled_images
        self.unlabeled: Source | None = None
        if epoch_steps < 1:
            raise ValueError(f"data.epoch_steps={epoch_steps} must be at least 1")
        self.epoch_steps = epoch_steps
        size = fitting_size(self._shapes, pixels) if size is None else size
        super().__init__(size, batch_size, num_workers, seed, augment)

    @property
    def _shapes(self) -> np.ndarray:
        """Height and width (N, 2) of what samples show, in pixels of the images."""
        if self.boxes is None:
            return self.image_sizes
        return (self.boxes[:, 2:] - self.boxes[:, :2])[:, ::-1] * self.padding

    def open(self) -> dict[str, Source]:
        """The labeled images of each split."""
        return {
            split: LabeledImages(
                self.labels.select(rows),
                self.image_sizes[rows],
                self.reader,
                None if self.boxes is None else self.boxes[rows],
            )
            for split, rows in self.splits.items()
        }

    @property
    def tells_visibility(self) -> bool:
        """Whether training labels know points that are hidden, or absent, beside the visible ones."""
        states = self.labels.visibility[self.splits["train"]]
        return bool(np.isin(states, (OCCLUDED, ABSENT)).any())

    def dataset(self, split: str) -> KeypointDataset:
        """The samples of one split; those of train with unlabeled images, where there are any."""
        samples, beside = super().dataset(split), self.unlabeled_images
        if split != "train" or beside is None or self.unlabeled is None:
            return samples
        return WithUnlabeled(samples, self.unlabeled, beside.augment, beside.per_sample)

    def setup(self, stage: str) -> None:
        """Fills caches; with a run, keeps its split and what was skipped, and reports images in two splits."""
        if stage == "fit" and self.trainer and self.trainer.is_global_zero:
            write_splits(Path(self.trainer.default_root_dir) / "splits.csv", self.labels.images, self.splits)
            self._report_leaks()
            if self.problems.skipped:
                list_of_them = Path(self.trainer.default_root_dir) / "skipped.txt"
                list_of_them.write_text("\n".join([*self.problems.skipped, ""]), encoding="utf-8")
        if self.cache != "none" and self.reader is self.image_folder:
            images, sizes = self.labels.images, self.image_sizes
            self.reader = Cached.open(self.image_folder, images, sizes, self.cache, self.cache_dir)
            self.sources = self.open()
        if stage == "fit" and self.unlabeled_images is not None and self.unlabeled is None:
            self._open_unlabeled(self.unlabeled_images)
        if self.resident and not self.device_caches:
            for split, source in self.sources.items():
                augment = self.augment if split == "train" else None
                self.device_caches[split] = DeviceCache(source, self.size, augment, self.padding)

    def _open_unlabeled(self, beside: Unlabeled) -> None:
        learner = self.trainer.lightning_module if self.trainer else None
        if learner is not None and not getattr(learner, "learns_unlabeled", False):
            raise ValueError("data.unlabeled_images are of use to semi=mean_teacher alone; add it, or leave them out")
        images = [self.labels.images[row] for split in ("val", "test") for row in self.splits[split]]
        known = {one.image: one for one in self.scans}
        held_out = [known[image] for image in images] if known else scan(self.image_folder, images)
        self.unlabeled = beside.open(self.skeleton, self.image_folder, held_out, self.cache, self.cache_dir)

    def _report_leaks(self) -> None:
        split_of = {self.labels.images[row]: split for split, rows in self.splits.items() for row in rows}
        scans = [scan for scan in self.scans if scan.image in split_of]
        splits = {name: [i for i, s in enumerate(scans) if split_of[s.image] == name] for name in self.splits}
        if leaks := across_splits(scans, splits):
            _log.warning("%s", describe_leaks(leaks))

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


def _split(
    labels: Labels,
    groups: Sequence[str],
    file: str | Path | None,
    seed: int,
    val: float,
    test: float,
    fold: int | None,
    folds: int | None,
) -> Split:
    if (fold is None) != (folds is None) or (file is not None and folds is not None):
        raise ValueError(
            f"data.fold={fold}, data.folds={folds}, data.splits={file}: give fold and folds together,"
            " and no split file beside them"
        )
    if fold is not None and folds is not None:
        return fold_split(labels, groups, seed, fold, folds, val)
    if file is None:
        return seeded_split(labels, groups, seed, val, test)
    splits = read_splits(file, labels.images)
    if not len(splits["val"]):
        rng = np.random.default_rng(seed)
        splits["train"], splits["val"] = carve_val(labels, groups, splits["train"], rng, val)
    return splits


def _each_has_labels(labels: Labels, splits: Split) -> None:
    for split, rows in splits.items():
        if not (labels.visibility[rows] > 0).any():
            raise ValueError(
                f"none of the {len(rows)} {split} images has a labeled point in {labels.source}; "
                "move labeled images there by data.splits, or change seed"
            )
    counts = (labels.visibility[splits["train"]] > 0).sum(axis=0)
    if never := [name for name, count in zip(labels.skeleton.names, counts, strict=True) if not count]:
        _log.warning("no training image labels %s: it cannot be learned", ", ".join(never))


def _tell_shares(splits: Split, test: float | None) -> None:
    """Warns where whole groups make the test set far larger than the fraction that was asked for."""
    share = len(splits["test"]) / sum(map(len, splits.values()))
    if test is not None and share > 2 * test and len(splits["test"]) > 2:
        _log.warning(
            "whole folders or videos are tested, which takes %.0f %% of the images where data.test=%g asks for %.0f %%;"
            " data.group=none would split single images, neighbors in a video among them",
            100 * share,
            test,
            100 * test,
        )


def _absent(labels: Labels) -> Labels:
    """The labels with every unlabeled point known to be absent."""
    marked = (replace(s, visibility=np.where(s.visibility == 0, ABSENT, s.visibility)) for s in labels.subjects)
    return replace(labels, subjects=tuple(marked))


def _choice(key: str, value: str, options: Sequence[str]) -> str:
    if value not in options:
        raise ValueError(f"data.{key}={value!r}: {did_you_mean(value, options)}")
    return value
