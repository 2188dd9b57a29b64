"""What a model is evaluated on: images and labels of one split, without the rest of a training's data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from softpoint.data import LabeledData
from softpoint.data.datamodule import KeypointData
from softpoint.data.sources import LabeledImages, Source
from softpoint.images import ImageFolder
from softpoint.images.scan import memo_of, scan
from softpoint.labels.filter import decodable, one_a_sample
from softpoint.labels.formats import read_labels
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels, choose
from softpoint.labels.skeleton import Skeleton
from softpoint.labels.validate import check
from softpoint.paths import normalize_path, user_cache_dir
from softpoint.suggest import did_you_mean


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """N subjects to predict and measure, in the order of their source."""

    source: Source
    images: list[str]  # the image of each
    boxes: np.ndarray | None = None  # (N, 4) that the labels give; NaN for none
    areas: np.ndarray | None = None  # (N,) of the outlines that the labels give; NaN for none
    padding: float = 1.0  # how many times larger than a record's box the part shown is

    def __len__(self) -> int:
        return len(self.images)

    @property
    def skeleton(self) -> Skeleton:
        """The keypoints of the labels."""
        return self.source.skeleton


def labeled_set(arguments: Mapping[str, Any], images: Collection[str] | None = None) -> EvaluationSet:
    """The labeled images that `arguments` of `LabeledData` describe, all or these `images`, never split.

    Raises FileNotFoundError and ValueError as `LabeledData` does, and ValueError where an image of `images` is not
    labeled there.
    """
    a = _with_defaults(arguments)
    problems = RowErrors(str(a.labels), a.on_error)
    labels = read_labels(a.labels, a.format, a.on_error, a.images, a.fetch, problems)
    labels = choose(labels, a.categories, a.keypoints, a.flip_pairs, a.edges)
    if images is not None:
        labels = _of_images(labels, images)
    image_folder = ImageFolder(Path(a.images or labels.folder), a.exif, a.max_pixels)
    labels, sizes = check(labels, image_folder, problems, a.outside)
    if a.on_error == "skip":
        scans = scan(image_folder, labels.images, memo_of(image_folder, user_cache_dir(None)))
        labels, sizes = decodable(labels, sizes, scans, problems)
    labels, sizes, boxes = one_a_sample(labels, sizes, a.mode, a.boxes, problems)
    found = _from_images(LabeledImages(labels, sizes, image_folder, boxes))
    return found if boxes is None else replace(found, padding=a.padding)


def split_set(data: KeypointData, split: str) -> EvaluationSet:
    """One split of a data module; ValueError for another name than train, val and test."""
    if split not in data.sources:
        raise ValueError(f"split={split!r} of this data: {did_you_mean(split, data.sources)}")
    source = data.sources[split]
    if isinstance(source, LabeledImages):
        return replace(_from_images(source), padding=data.padding)
    shards = getattr(source, "shards", None)  # of a packed set
    names = [f"{split}/{i}" if shards is None else shards.read(i).path for i in range(len(source))]
    return EvaluationSet(source, names, padding=data.padding)


def _from_images(source: LabeledImages) -> EvaluationSet:
    labels = source.labels
    areas = np.array([subject.area for subject in labels.subjects])
    boxes = labels.boxes if np.isfinite(labels.boxes).any() else None
    return EvaluationSet(source, list(labels.images), boxes, areas if np.isfinite(areas).any() else None)


def _of_images(labels: Labels, images: Collection[str]) -> Labels:
    """The labels of these images alone."""
    wanted = {normalize_path(image) for image in images}
    rows = [i for i, image in enumerate(labels.images) if normalize_path(image) in wanted]
    if missing := sorted(wanted - {normalize_path(labels.images[i]) for i in rows}):
        raise ValueError(
            f"{labels.source} lacks {len(missing)} of the {len(wanted)} images of the stored split, first {missing[0]};"
            " evaluate all of another set by split=all"
        )
    return labels.select(rows)


def _with_defaults(arguments: Mapping[str, Any]) -> SimpleNamespace:
    """The arguments of `LabeledData`, with its own defaults for those that are not given."""
    known = signature(LabeledData.__init__).parameters
    given = {name: value for name, value in arguments.items() if name in known}
    if "labels" not in given:
        raise ValueError("there are no labels to evaluate: give data.labels=FILE data.images=FOLDER")
    return SimpleNamespace(**{name: p.default for name, p in known.items()} | given)


def common_keypoints(model: Sequence[str], labels: Sequence[str], missing: str) -> list[str]:
    """The keypoints that both a model and labels have, in the model's order.

    Raises ValueError where the labels lack some, unless `missing` is "skip" and there are others.

    >>> common_keypoints(["nose", "tail"], ["tail", "ear"], "skip")
    ['tail']
    """
    if missing not in ("error", "skip"):
        raise ValueError(f"missing={missing!r}: {did_you_mean(missing, ('error', 'skip'))}")
    common, absent = [n for n in model if n in labels], [n for n in model if n not in labels]
    if absent and (missing == "error" or not common):
        way_out = "evaluate the others alone by missing=skip" if common else "they have no keypoint in common"
        raise ValueError(
            f"the labels lack {len(absent)} of the model's {len(model)} keypoints, first {absent[0]!r}:"
            f" {did_you_mean(absent[0], labels)}; {way_out}"
        )
    return common
