"""Sets to evaluate on: the images and labels of one split."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from softpoint.data.datamodule import KeypointData
from softpoint.data.scenes import LabeledScenes, SceneSource
from softpoint.data.sources import LabeledImages, Source
from softpoint.data.subjects import EachSubject
from softpoint.labels.load import load_labels
from softpoint.labels.plane import Plane
from softpoint.labels.skeleton import Skeleton
from softpoint.labels.source import LabelSource
from softpoint.suggest import check_choice, did_you_mean


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """N subjects to predict and to compare with their labels, in the order of their source."""

    source: Source
    images: list[str]  # the image of each
    boxes: np.ndarray | None = None  # (N, 4) that the labels give; NaN for none
    areas: np.ndarray | None = None  # (N,) of the outlines that the labels give; NaN for none
    padding: float = 1.0  # factor by which a crop is larger than its box
    plane: Plane | None = None  # that the images show
    scenes: SceneSource | None = None  # whole images, in which the subjects are to be found; None where they are given
    scene_images: list[str] = field(default_factory=list)  # the image of each scene

    def __len__(self) -> int:
        return len(self.images)

    @property
    def skeleton(self) -> Skeleton:
        """The keypoints of the labels."""
        return self.source.skeleton

    @property
    def has_groups(self) -> bool:
        """Whether the images that these are of are of several groups, even where these are not."""
        return isinstance(self.source, LabeledImages) and self.source.labels.has_groups

    def image(self, index: int) -> np.ndarray:
        """Return the original image uint8 RGB (H, W, 3) of a subject."""
        return self.source.load(0, index).image

    def scene_image(self, index: int) -> np.ndarray:
        """Return the original image uint8 RGB (H, W, 3) of a scene."""
        assert self.scenes is not None
        return self.scenes.load_scene(0, index).image


def labeled_set(
    source: LabelSource, group: str | None = None, images: Collection[str] | None = None, complete: bool = True
) -> EvaluationSet:
    """Return the labeled images of a source, all or these `images`, never split; `group` as in `Split`.

    `complete` as in `LabeledData`. Raises FileNotFoundError and ValueError as `load_labels` does.
    """
    loaded = load_labels(source, images, group=group)
    scenes, own = None, loaded.with_box
    if source.mode == "multi" and loaded.boxes is not None:
        scenes = LabeledScenes(loaded.labels, loaded.sizes, loaded.image_folder, loaded.boxes, complete)
    samples = _from_images(LabeledImages(own.labels, own.sizes, own.image_folder, own.boxes))
    padding = 1.0 if loaded.boxes is None else source.padding
    return _with_scenes(replace(samples, padding=padding, plane=source.plane), scenes, "")


def split_set(data: KeypointData, split: str) -> EvaluationSet:
    """Return one split of a data module that is set up; ValueError for another name than train, val and test."""
    if split not in data.sources:
        raise ValueError(f"split={split!r} of this data: {did_you_mean(split, data.sources)}")
    source, scenes = data.sources[split], data.scenes.get(split)
    if isinstance(source, LabeledImages):
        return _with_scenes(replace(_from_images(source), padding=data.padding, plane=data.plane), scenes, split)
    shards = getattr(source, "shards", None)  # of a packed set
    places = source.places[:, 0].tolist() if isinstance(source, EachSubject) else range(len(source))
    names = [f"{split}/{i}" if shards is None else shards.read(i).path for i in places]
    return _with_scenes(EvaluationSet(source, names, padding=data.padding), scenes, split)


def _with_scenes(samples: EvaluationSet, scenes: SceneSource | None, split: str) -> EvaluationSet:
    """The set with its whole images; those that are painted have numbers as names."""
    if scenes is None:
        return samples
    images = [scenes.image(i) if isinstance(scenes, LabeledScenes) else f"{split}/{i}" for i in range(len(scenes))]
    return replace(samples, scenes=scenes, scene_images=images)


def _from_images(source: LabeledImages) -> EvaluationSet:
    labels = source.labels
    areas, boxes = labels.columns.numbers("area"), labels.boxes
    stated = boxes if np.isfinite(boxes).any() else None
    return EvaluationSet(source, list(labels.images), stated, areas if np.isfinite(areas).any() else None)


def common_keypoints(model: Sequence[str], labels: Sequence[str], missing: str) -> list[str]:
    """Return the keypoints that both a model and labels have, in the model's order.

    Raises ValueError where the labels lack some, unless `missing` is "skip" and there are others.

    >>> common_keypoints(["nose", "tail"], ["tail", "ear"], "skip")
    ['tail']
    """
    check_choice("missing", missing, ("error", "skip"))
    common, absent = [n for n in model if n in labels], [n for n in model if n not in labels]
    if absent and (missing == "error" or not common):
        way_out = "evaluate the others alone by missing=skip" if common else "they have no keypoint in common"
        raise ValueError(
            f"the labels lack {len(absent)} of the model's {len(model)} keypoints, first {absent[0]!r}:"
            f" {did_you_mean(absent[0], labels)}; {way_out}"
        )
    return common
