"""Training from packed sets, of which a machine holds only the chunks that it is about to use."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np

from softpoint.data.augment import Augment
from softpoint.data.datamodule import KeypointData, Loader
from softpoint.data.dataset import EpochSampler
from softpoint.data.shards.description import Description
from softpoint.data.shards.files import open_files
from softpoint.data.shards.order import ChunkSampler, chunk_places
from softpoint.data.shards.sample import Sample
from softpoint.data.shards.shards import Shards
from softpoint.data.sources import NO_PIXELS, Record, Source
from softpoint.images.decode import MAX_PIXELS, read_image
from softpoint.labels.split_file import SPLITS


class StreamedData(KeypointData):
    """A set that scripts/pack_data.py packed, read from where it lies.

    Args:
        folder: where that is: a folder, or an address such as s3://BUCKET/SET.
        padding: how many times larger than its box a crop is, of a set packed in instance mode.
        window: how many chunks the shuffle of an epoch mixes at a time, and so needs at once.
        cache_dir, max_cache_gb: where chunks from an address are kept, and how much of them, in 10^9 bytes.
        max_pixels: a larger image is refused before it is decoded.
    """

    def __init__(
        self,
        folder: str,
        size: int | Sequence[int],
        loader: Loader,
        seed: int,
        augment: Augment | None = None,
        padding: float = 1.25,
        window: int = 8,
        cache_dir: str | Path | None = None,
        max_cache_gb: float = 20.0,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        if window < 1:
            raise ValueError(f"data.window={window} must be at least 1; 8 mixes well")
        super().__init__(size, loader, seed, augment)
        self.window, self.max_pixels = window, max_pixels
        files, self.description = open_files(folder, cache_dir, int(max_cache_gb * 1e9))
        if self.description.mode == "instance":
            self.crops = {"padding": padding, "boxes": None}
        self.shards = {split: Shards(files, split, self.description) for split in SPLITS}
        if not files.here:
            _fits(self.shards, window, max_cache_gb)

    def open(self) -> dict[str, Source]:
        """The subjects of each split."""
        return {
            split: StreamedImages(
                shards,
                self.description,
                self.max_pixels,
                *((self.seed, self.window) if split == "train" else (None, 1)),
            )
            for split, shards in self.shards.items()
        }

    @property
    def has_hidden_points(self) -> bool:
        """Whether training labels knew points that are hidden, or absent, when they were packed."""
        return self.description.tells_visibility

    def typical_indices(self, count: int) -> Sequence[int]:
        """The first training indices, all of one chunk: sets are packed in random order."""
        return range(min(count, int(self.shards["train"].lengths[0])))

    def state_dict(self) -> dict[str, Any]:
        """What was drawn, and of which set."""
        return super().state_dict() | {"contents": self.description.contents}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuses to go on with another set, whose split is another too."""
        super().load_state_dict(state_dict)
        if state_dict.get("contents") != self.description.contents:
            raise ValueError(
                f"the checkpoint was not trained on the set at {self.shards['train'].files.place}: its samples or its"
                " split differ; set data.folder to that set, or start anew without ckpt_path"
            )

    def sampler(self, split: str, shuffled: bool, rank: int, world: int) -> EpochSampler:
        """What one of `world` processes draws of a split: a shuffle by chunks."""
        if not shuffled:
            return super().sampler(split, shuffled, rank, world)
        return ChunkSampler(self.shards[split].lengths, self.window, self.seed, rank, world)


def _fits(shards: dict[str, Shards], window: int, max_cache_gb: float) -> None:
    largest = max(chunk.size for split in shards.values() for chunk in split.chunks)
    # Beside those that are mixed, one comes and one has not yet been left by every worker.
    needed = min(window + 2, len(shards["train"].chunks)) * largest / 1e9
    if needed > max_cache_gb:
        raise ValueError(
            f"data.max_cache_gb={max_cache_gb:g} is less than the {needed:.3g} GB that data.window={window} chunks of"
            f" {largest / 1e6:.3g} MB need; raise it, or lower data.window"
        )


class StreamedImages:
    """The subjects of one split; while a chunk is read, the one that an epoch comes to next is fetched.

    `seed` and `window` are those of the shuffle by chunks; a split that is read in order has None and 1.
    """

    def __init__(
        self, shards: Shards, description: Description, max_pixels: int, seed: int | None, window: int
    ) -> None:
        self.shards, self.description, self.max_pixels, self.seed = shards, description, max_pixels, seed
        self.skeleton = description.skeleton
        self._begun: deque[int] = deque(maxlen=window + 2)

    def __len__(self) -> int:
        return len(self.shards)

    def load(self, epoch: int, index: int) -> Record:
        """The image at `index`, the same in every epoch."""
        if not self.shards.files.here:
            self._fetch_next(epoch, self.shards.locate(index)[0])
        sample = self.shards.read(index)
        with self.shards.blamed(index):
            return self._record(sample)._replace(image=self._decode(sample))

    def describe(self, index: int) -> Record:
        """All that is known about an image without decoding it."""
        return self._record(self.shards.read(index))

    def _record(self, sample: Sample) -> Record:
        box = sample.box if self.description.mode == "instance" else None
        if box is not None and not np.isfinite(box).all():
            raise ValueError(f"{sample.path} has no box, although the set shows boxes")
        return Record(NO_PIXELS, sample.size, sample.keypoints, sample.visibility, sample.scale, sample.group, box)

    def _decode(self, sample: Sample) -> np.ndarray:
        with _as_file(sample.image) as path:
            try:
                image = read_image(path, exif=self.description.exif, max_pixels=self.max_pixels)
            except (ValueError, FileNotFoundError) as error:
                raise ValueError(str(error).replace(path, sample.path)) from error
        if image.shape[:2] != sample.size:
            raise ValueError(f"{sample.path} is {image.shape[:2]} high and wide, not {sample.size}")
        return image

    def _fetch_next(self, epoch: int, chunk: int) -> None:
        if chunk in self._begun:
            return
        self._begun.append(chunk)
        places = chunk_places(len(self.shards.chunks), self.seed, epoch)
        if len(after := np.flatnonzero(places == places[chunk] + 1)):
            threading.Thread(target=self._fetch, args=(int(after[0]),), daemon=True).start()

    def _fetch(self, chunk: int) -> None:
        # What went wrong is said when the chunk is needed.
        with suppress(ValueError, OSError):
            self.shards.fetch(chunk)


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """A path at which the bytes can be read, in memory where the system has files there."""
    in_memory = hasattr(os, "memfd_create")
    with os.fdopen(os.memfd_create("image"), "wb") if in_memory else NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}" if in_memory else file.name
