"""Images that nobody labeled beside the labeled ones: each seen as it is, and changed strongly."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate

from softpoint.data.augment import Augment
from softpoint.data.crops import input_matrix
from softpoint.data.dataset import Draw, KeypointDataset
from softpoint.data.geometry import warp
from softpoint.data.sources import LabeledImages, Source
from softpoint.images import ImageFolder, Reader
from softpoint.images.cache import Cached
from softpoint.images.decode import list_images
from softpoint.images.duplicates import across_splits
from softpoint.images.scan import Scan, memo_of, scan
from softpoint.images.video_seek import Video
from softpoint.labels.schema import UNLABELED, Labels, Subject
from softpoint.labels.skeleton import Skeleton
from softpoint.paths import user_cache_dir

# What tells the random numbers of these images from those of train, val and test.
_STREAM = 3

_log = logging.getLogger(__name__)


class Unlabeled:
    """Images to learn from without labels.

    Args:
        source: a folder of images, or a video.
        augment: the strong changes between the two views of an image.
        per_sample: how many images come with each labeled sample.
        most: of more images, so many are taken, evenly spread.
        apart: leave out those that are held-out images, or nearly. A network that has looked at its test
            images, even without their labels, is tested on what it knows (transductive learning).
    """

    def __init__(
        self, source: str | Path, augment: Augment, per_sample: int = 1, most: int = 1000, apart: bool = True
    ) -> None:
        if per_sample < 1 or most < 1:
            raise ValueError(
                f"data.unlabeled_images.per_sample={per_sample} and data.unlabeled_images.most={most} must be at"
                " least 1"
            )
        self.source, self.augment, self.per_sample, self.most, self.apart = source, augment, per_sample, most, apart

    def open(
        self, skeleton: Skeleton, like: ImageFolder, held_out: Sequence[Scan], cache: str, cache_dir: str | Path | None
    ) -> Source:
        """The images, opened with the settings of `like`, without those that cannot be read.

        Raises FileNotFoundError for a source that is not there, ValueError where no image remains.
        """
        folder, names = image_names(Path(self.source), like.max_pixels)
        names = [names[i] for i in np.linspace(0, len(names) - 1, min(len(names), self.most)).round().astype(int)]
        image_folder = ImageFolder(folder, like.exif, like.max_pixels)
        # Apart from the memo of labeled images, which may lie in the same folder.
        scans = scan(image_folder, names, memo_of(image_folder, user_cache_dir(cache_dir) / "unlabeled"))
        scans = self._without_held_out(self._readable(scans), held_out)
        sizes = np.array([one.size for one in scans])
        reader: Reader = image_folder
        if cache != "none":
            reader = Cached.open(image_folder, [one.image for one in scans], sizes, cache, cache_dir)
        return LabeledImages(_labels(str(self.source), skeleton, scans), sizes, reader)

    def _readable(self, scans: Sequence[Scan]) -> list[Scan]:
        damaged = [one for one in scans if one.error is not None]
        if damaged:
            _log.warning("%d of %d unlabeled images are left out: %s", len(damaged), len(scans), damaged[0].error)
        return [one for one in scans if one.error is None]

    def _without_held_out(self, scans: Sequence[Scan], held_out: Sequence[Scan]) -> list[Scan]:
        rows = {"held out": range(len(held_out)), "new": range(len(held_out), len(held_out) + len(scans))}
        known = {leak.image for leak in across_splits([*held_out, *scans], rows)}
        kept = [one for one in scans if one.image not in known or not self.apart]
        if known and not self.apart:
            _log.warning(
                "%d of the unlabeled images are val or test images, or nearly: what is measured on those is"
                " flattered, because the network has seen them (data.unlabeled_images.apart=true leaves them out)",
                len(known),
            )
        if not kept:
            raise ValueError(
                f"data.unlabeled_images.source={self.source} has no image to learn from: of the {len(scans)} that"
                f" can be read, {len(known)} are val or test images, or nearly; name others, or set"
                " data.unlabeled_images.apart=false"
            )
        left = f", {len(known)} left out, being val or test images, or nearly" if known and self.apart else ""
        _log.info("%d unlabeled images of %s%s", len(kept), self.source, left)
        return kept


def image_names(source: Path, max_pixels: int) -> tuple[Path, list[str]]:
    """The folder to start from, and the path below it of each image in a folder, or of each frame of a video.

    Raises FileNotFoundError where there is nothing, ValueError for a file that is no video.
    """
    if source.is_dir():
        return source, [path.relative_to(source).as_posix() for path in list_images(source)]
    if not source.is_file():
        raise FileNotFoundError(
            f"data.unlabeled_images.source={source} does not exist; name a folder of images, or a video"
        )
    return source.parent, [f"{source.name}/{frame:06}" for frame in range(len(Video(source, max_pixels)))]


def _labels(source: str, skeleton: Skeleton, scans: Sequence[Scan]) -> Labels:
    """Labels that say nothing."""
    points, states = np.full((len(skeleton), 2), np.nan), np.full(len(skeleton), UNLABELED)
    return Labels(source, "", skeleton, tuple(Subject(one.image, one.image, points, states) for one in scans))


class WithUnlabeled(KeypointDataset):
    """Labeled samples, each with `unlabeled`: a few images that nobody labeled, each in two views.

    `unlabeled` holds `plain` and `image`, both uint8 (M, H, W, 3), the image as it is predicted and as `augment`
    changes it, `matrix` float32 (M, 3, 3) from the first to the second, and `order` (M, K): which of the first
    view's keypoints each of the second's is, which a mirror exchanges.
    Which images come with a sample, and how they are changed, is a function of (seed, epoch, index): all have been
    shown before one is shown again, in another order then.
    """

    def __init__(self, labeled: KeypointDataset, image_folder: Source, augment: Augment, per_sample: int) -> None:
        super().__init__(labeled.source, labeled.size, labeled.seed, labeled.augment, labeled.padding, labeled.canvases)
        self.image_folder, self.strong, self.per_sample = image_folder, augment, per_sample

    def __getitem__(self, draw: Draw | int) -> dict[str, Any]:
        epoch, index, _ = Draw(0, draw) if isinstance(draw, int) else draw
        first = (epoch * len(self) + index) * self.per_sample
        views = [self._views(place) for place in range(first, first + self.per_sample)]
        return super().__getitem__(draw) | {"unlabeled": default_collate(views)}

    def _views(self, place: int) -> dict[str, torch.Tensor]:
        """Both views of the image at `place` in the sequence of all that are ever shown."""
        rng = np.random.default_rng([self.seed[0], _STREAM, place])
        record = self.image_folder.load(0, self._which(place))
        matrix = input_matrix(record.size, None, self.size)
        change, flipped = self.strong.matrix(rng, self.size, bool(self.source.skeleton.flip_pairs))
        order = self.source.skeleton.flip_index if flipped else range(len(record.keypoints))
        image = self.strong.recolor(rng, warp(record.image, change @ matrix, self.size))
        return {
            "plain": torch.from_numpy(warp(record.image, matrix, self.size)),
            "image": torch.from_numpy(image),
            "matrix": torch.from_numpy(change.astype(np.float32)),
            "order": torch.tensor(list(order)),
        }

    def _which(self, place: int) -> int:
        turn, position = divmod(place, len(self.image_folder))
        order = np.random.default_rng([self.seed[0], _STREAM, turn, 1]).permutation(len(self.image_folder))
        return int(order[position])
