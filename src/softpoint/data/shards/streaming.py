"""Training from packed sets, which may be larger than the disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.data.augment import Augment
from softpoint.data.datamodule import KeypointData
from softpoint.data.loaders import Loader
from softpoint.data.shards.packed_format import Description, PackedSample
from softpoint.data.shards.reader import Shards, open_set
from softpoint.data.sources import NO_PIXELS, Record, Source
from softpoint.images.channels import check_channels
from softpoint.images.costs import MAX_PIXELS
from softpoint.images.decode import decode_image
from softpoint.images.read_options import ReadOptions


class StreamedData(KeypointData):
    """A set packed by softpoint pack, in a folder or an object store.

    litdata reads the samples one by one, so that order, augmentation and the position of a resumed run are those of
    any other data set: a sample is a function of (seed, epoch, index), whatever the number of workers and processes.

    Args:
        folder: the packed set's folder, or its address such as s3://BUCKET/SET.
        padding: factor by which a crop is larger than its box, for a set packed in instance mode.
        cache_dir: the folder for the index of a set at an address; None for the user's cache folder.
        max_pixels, bits, channels: see `ReadOptions`; None reads images as the set was packed for.
    """

    def __init__(
        self,
        folder: str,
        size: int | Sequence[int],
        loader: Loader,
        seed: int,
        augment: Augment | None = None,
        padding: float = 1.25,
        cache_dir: str | Path | None = None,
        max_pixels: int = MAX_PIXELS,
        bits: int | None = None,
        channels: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__(size, loader, seed, augment)
        self.folder, self.crop_padding, self.cache_dir, self.max_pixels = folder, padding, cache_dir, max_pixels
        self.bits, self.given_channels = bits, None if channels is None else check_channels(channels)

    def open(self) -> dict[str, Source]:
        """Return the subjects of each split."""
        self.description, shards = open_set(self.folder, self.cache_dir)
        if self.description.mode == "instance":
            self.crops = {"padding": self.crop_padding, "boxes": None}
        own = self.description
        channels = own.channels if self.given_channels is None else self.given_channels
        self.options = ReadOptions(own.exif, self.max_pixels, own.bits if self.bits is None else self.bits, channels)
        self.channels, self.standardizes = self.options.channel_count, self.options.channel_count not in (1, 3)
        if self.augment is not None:
            self.augment.check_channels(self.channels)
        return {split: StreamedImages(part, own, self.options) for split, part in shards.items()}

    @property
    def read_settings(self) -> dict[str, Any]:
        """The settings data.bits and data.channels with which images are read, whoever states them."""
        *_, bits, channels = self.options.plain()
        return {"bits": bits, "channels": channels}

    @property
    def has_hidden_points(self) -> bool:
        """True where training labels had occluded or absent points when they were packed."""
        return self.description.has_hidden_points

    def typical_indices(self, count: int) -> Sequence[int]:
        """Return the first training indices: sets are packed in random order."""
        return range(min(count, len(self.sources["train"])))

    def state_dict(self) -> dict[str, Any]:
        """Return the position of training, and the digest of the set."""
        return super().state_dict() | {"contents": self.description.contents}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue there; ValueError for a checkpoint of another set, whose split differs too."""
        super().load_state_dict(state_dict)
        if state_dict.get("contents") != self.description.contents:
            raise ValueError(
                f"the checkpoint was not trained on the set at {self.folder}: its samples or its split differ; set"
                " data.folder to that set, or start a new run"
            )


class StreamedImages:
    """The subjects of one packed split."""

    def __init__(self, shards: Shards, description: Description, options: ReadOptions) -> None:
        self.shards, self.description, self.options = shards, description, options
        self.skeleton = description.skeleton
        self._fetched: dict[int, PackedSample] = {}

    def __len__(self) -> int:
        return len(self.shards)

    def fetch(self, indices: Sequence[int]) -> None:
        """Read the samples of a batch from an object store, for `load` to return them."""
        if self.shards.remote:
            self._fetched = dict(zip(indices, self.shards.read_batch(indices), strict=True))

    def load(self, epoch: int, index: int) -> Record:
        """Return the image at `index`, the same in every epoch."""
        sample = self._fetched.get(index) or self.shards.read(index)
        try:
            image = decode_image(sample.image, self.options)
            if image.shape[:2] != sample.size:
                raise ValueError(f"its image is {image.shape[:2]} high and wide, not {sample.size}")
        except ValueError as error:
            raise self.shards.damaged(index, ValueError(f"{sample.path}: {error}")) from error
        return self._record(index, sample)._replace(image=image)

    def describe(self, index: int) -> Record:
        """Return the labels at `index` without decoding the image."""
        return self._record(index, self.shards.read(index))

    def _record(self, index: int, sample: PackedSample) -> Record:
        box = sample.box if self.description.mode == "instance" else None
        if box is not None and not np.isfinite(box).all():
            raise self.shards.damaged(index, ValueError(f"{sample.path} has no box, but the set is of boxes"))
        return Record(NO_PIXELS, sample.size, sample.keypoints, sample.visibility, sample.scale, sample.group, box)
