"""Images without labels that come with labeled ones: each in a plain and in a strongly augmented view."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import default_collate

from softpoint.data.augment import Augment
from softpoint.data.crops import input_matrix
from softpoint.data.dataset import Draw, KeypointDataset, shuffled
from softpoint.data.geometry import warp
from softpoint.data.sources import LabeledImages, Source
from softpoint.images import ImageFolder, Reader
from softpoint.images.cache import PixelCache
from softpoint.images.containers import page_names, page_paths
from softpoint.images.duplicates import across_splits
from softpoint.images.listing import SUFFIXES, list_images
from softpoint.images.read_options import ReadOptions
from softpoint.images.scan import Scan, memo_path, scan
from softpoint.images.video import Video
from softpoint.labels.formats.parsing.rows import unlabeled_points
from softpoint.labels.partition import evenly_spaced
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton
from softpoint.paths import user_cache_dir
from softpoint.types import Sample

# Number of the random stream of these images, beside 0 to 2 of train, val and test.
_STREAM = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class UnlabeledImages:
    """Images without labels to train on.

    Args:
        source: a folder of images, or a video.
        augment: the strong augmentation of one of the two views of an image.
        per_sample: number of images with each labeled sample.
        max_images: of more images, this many are taken, evenly spaced.
        exclude_held_out: leave out val and test images and their near duplicates. Accuracy on images that a network
            was trained on, even without their labels, is not that on new ones (transductive learning).
    """

    source: str | Path
    augment: Augment
    per_sample: int = 1
    max_images: int = 1000
    exclude_held_out: bool = True

    def __post_init__(self) -> None:
        for name in ("per_sample", "max_images"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"data.unlabeled_images.{name}={value} must be at least 1")

    def open(
        self, skeleton: Skeleton, like: ImageFolder, held_out: Sequence[Scan], cache: str, cache_dir: str | Path | None
    ) -> tuple[Source, list[Scan]]:
        """Return the images and their scans, with the settings of `like`, without those that cannot be read.

        Raises FileNotFoundError for a missing source, ValueError where no image remains.
        """
        folder, names = image_names(Path(self.source), like.options)
        names = [names[i] for i in evenly_spaced(len(names), self.max_images)]
        image_folder = replace(like, folder=folder)
        scans = scan(image_folder, names, memo_path(image_folder, user_cache_dir(cache_dir)))
        if damaged := [scan for scan in scans if scan.error is not None]:
            _log.warning("%d of %d unlabeled images are left out: %s", len(damaged), len(scans), damaged[0].error)
        scans = self._without_held_out([scan for scan in scans if scan.error is None], held_out)
        sizes = np.array([scan.size for scan in scans])
        reader: Reader = image_folder
        if cache != "none":
            reader = PixelCache.open(image_folder, [scan.image for scan in scans], sizes, cache, cache_dir)
        unlabeled = unlabeled_points(len(skeleton))
        subjects = [Subject(scan.image, scan.image, *unlabeled) for scan in scans]
        return LabeledImages(Labels(str(self.source), "", skeleton, subjects), sizes, reader), scans

    def _without_held_out(self, scans: Sequence[Scan], held_out: Sequence[Scan]) -> list[Scan]:
        rows = {"held out": range(len(held_out)), "new": range(len(held_out), len(held_out) + len(scans))}
        duplicates = {leak.image for leak in across_splits([*held_out, *scans], rows)}
        kept = [scan for scan in scans if scan.image not in duplicates or not self.exclude_held_out]
        if duplicates and not self.exclude_held_out:
            _log.warning(
                "%d of the unlabeled images are, or nearly equal, val or test images: the accuracy on those is"
                " too good, because the network was trained on them (data.unlabeled_images.exclude_held_out=true"
                " leaves them out)",
                len(duplicates),
            )
        if not kept:
            raise ValueError(
                f"data.unlabeled_images.source={self.source} has no image to train on: of the {len(scans)} that"
                f" can be read, {len(duplicates)} are, or nearly equal, val or test images; name others, or set"
                " data.unlabeled_images.exclude_held_out=false"
            )
        left = len(scans) - len(kept)
        excluded = f", {left} left out, equal or nearly equal to val or test images" if left else ""
        _log.info("%d unlabeled images of %s%s", len(kept), self.source, excluded)
        return kept


def image_names(source: Path, options: ReadOptions) -> tuple[Path, list[str]]:
    """Return a base folder, and the path below it of each page of the images in a folder, or frame of a video.

    Raises FileNotFoundError for a missing source, ValueError for a file that is no video.
    """
    if source.is_dir():
        return source, page_paths(source, list_images(source), options.channels)
    if not source.is_file():
        raise FileNotFoundError(
            f"data.unlabeled_images.source={source} does not exist; name a folder of images, or a video"
        )
    if source.suffix.lower() in SUFFIXES:
        return source.parent, page_names(source, options.channels)
    return source.parent, [f"{source.name}/{frame:06}" for frame in range(len(Video(source, options.max_pixels)))]


class WithUnlabeled(KeypointDataset):
    """Labeled samples, each with `unlabeled`: a few images without labels, each in two views.

    `unlabeled` holds `plain` and `image`, both uint8 (M, H, W, C), the image as it is predicted and as `augment`
    changes it, `matrix` float32 (M, 3, 3) from the first to the second, and `order` (M, K): which of the first
    view's keypoints each of the second's is, which a mirror exchanges.
    Which images come with a sample, and how they are augmented, is a function of (seed, epoch, index): all have been
    shown before one is shown again, in another order then.
    """

    def __init__(self, labeled: KeypointDataset, images: Source, augment: Augment, per_sample: int) -> None:
        super().__init__(labeled.source, labeled.size, labeled.seed, labeled.augment, labeled.padding, labeled.canvases)
        self.images, self.strong, self.per_sample = images, augment, per_sample

    def __getitem__(self, draw: Draw | int) -> Sample:
        sample = super().__getitem__(draw)
        epoch, index, *_ = Draw(0, draw) if isinstance(draw, int) else draw
        first = (epoch * len(self) + index) * self.per_sample
        views = [self._views(position) for position in range(first, first + self.per_sample)]
        return {**sample, "unlabeled": default_collate(views)}

    def _views(self, position: int) -> dict[str, torch.Tensor]:
        """Return both views of the image at `position` in the sequence of all that are ever shown."""
        rng = np.random.default_rng([self.seed[0], _STREAM, position])
        turn, place = divmod(position, len(self.images))
        order = shuffled(len(self.images), self.seed[0], _STREAM, turn, 1)
        record = self.images.load(0, int(order[place]))
        matrix = input_matrix(record.size, None, self.size)
        change, flipped = self.strong.matrix(rng, self.size, self.source.skeleton.can_mirror)
        keypoints = self.source.skeleton.flip_index if flipped else list(range(len(record.keypoints)))
        image = self.strong.recolor(rng, warp(record.image, change @ matrix, self.size))
        return {
            "plain": torch.from_numpy(warp(record.image, matrix, self.size)),
            "image": torch.from_numpy(image),
            "matrix": torch.from_numpy(change.astype(np.float32)),
            "order": torch.tensor(keypoints),
        }
