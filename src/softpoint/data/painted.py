"""The data module of painted scenes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from softpoint.data.augment import Augment
from softpoint.data.crops import check_size
from softpoint.data.datamodule import KeypointData
from softpoint.data.loaders import Loader
from softpoint.data.scene_samples import BOX, check_anchor, finding_size
from softpoint.data.sources import PaintedScenes, Painter, Source
from softpoint.data.subjects import EachSubject, PaintedSubjects, ScenePainter

# Largest side of a painted image, in px.
_MAX_SIDE = 4096
_DESCRIBED = 200  # subjects, whose size tells that of the input of a finder


class SyntheticData(KeypointData):
    """Scenes painted as they are needed: `train` new ones each epoch, the same `val` and `test` ones always.

    Of a painter of several subjects, `scenes` holds the images, and samples are crops of single subjects: of `train`
    images with one at least, and of all in the images of val and test.

    Args:
        image_size: (height, width) of painted images, or one number for a square; None for `size`, and for twice
            that with several subjects.
        padding: of several subjects, factor by which a crop is larger than its box.
        anchor, finding_pixels: of several subjects, see `LabeledData`.
    """

    def __init__(
        self,
        painter: Painter,
        size: int | Sequence[int],
        train: int,
        val: int,
        test: int,
        loader: Loader,
        seed: int,
        image_size: int | Sequence[int] | None = None,
        padding: float = 1.25,
        augment: Augment | None = None,
        anchor: str = BOX,
        finding_pixels: int | None = None,
    ) -> None:
        super().__init__(size, loader, seed, augment)
        check_anchor(anchor, painter.skeleton.names)
        self.anchor, self.finding_pixels = anchor, finding_pixels
        self.painter = painter
        self.lengths = {"train": train, "val": val, "test": test}
        if min(self.lengths.values()) < 1:
            raise ValueError(f"data.train, data.val and data.test must be at least 1, got {self.lengths}")
        self.several = getattr(painter, "subjects", None) is not None
        if self.several:
            self.crops = {"padding": padding, "boxes": "labels"}
        height, width = self.size
        usual = (2 * height, 2 * width) if self.several else self.size
        self.image_size = usual if image_size is None else check_size(image_size)
        if image_size is not None and max(self.image_size) > _MAX_SIDE:
            raise ValueError(f"data.image_size={list(self.image_size)}: scenes are painted up to {_MAX_SIDE} px")

    def open(self) -> dict[str, Source]:
        """Return scenes whose seeds differ between the splits."""
        sources = {split: self._open(split, i, length) for i, (split, length) in enumerate(self.lengths.items())}
        if self.several:
            records = [sources["train"].describe(i) for i in range(min(_DESCRIBED, len(sources["train"])))]
            boxes = np.array([record.box for record in records])
            self.finding_size = finding_size(np.array([self.image_size]), boxes, self.finding_pixels)
        return sources

    def _open(self, split: str, stream: int, length: int) -> Source:
        """Return the samples of a split."""
        size, seed, renewed = self.image_size, (self.seed, stream), split == "train"
        if not self.several:
            return PaintedScenes(self.painter, size, length, seed, renewed)
        painter = cast(ScenePainter, self.painter)
        scenes = self.scenes[split] = PaintedSubjects(painter, size, length, seed, renewed)
        subjects: Source = scenes if renewed else EachSubject(scenes)
        if not len(subjects):
            raise ValueError(f"data.{split}={length}: no image of that split has a subject; set data.{split} larger")
        return subjects
