"""Assignment of labeled images to train, val and test."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from softpoint.labels.partition import carve_val, fold_split, seeded_split
from softpoint.labels.schema import Labels
from softpoint.labels.split_file import SPLITS, read_splits
from softpoint.labels.subset import limit_rows
from softpoint.paths import normalize_path

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Rules by which images are split; groups of images, such as videos, are never divided.

    Args:
        splits: a CSV that assigns images to train, val and test; without val, val is taken out of train.
        val, test: fractions of the images, without such a file.
        split_seed: of the random split; None for the seed of the data.
        fold, folds: for cross-validation: the test split is this one of so many parts.
        group: regular expression on the path that names an image's group; see `with_groups`.
        limit, limit_groups: number of images, or of whole groups, to train on; val and test stay. See `limit_rows`.
    """

    splits: str | Path | None = None
    val: float = 0.1
    test: float = 0.1
    split_seed: int | None = None
    fold: int | None = None
    folds: int | None = None
    group: str | None = None
    limit: int | None = None
    limit_groups: int | None = None

    def __post_init__(self) -> None:
        if (self.fold is None) != (self.folds is None) or (self.splits is not None and self.folds is not None):
            raise ValueError(
                f"data.fold={self.fold}, data.folds={self.folds}, data.splits={self.splits}: give fold and folds"
                " together, and no split file beside them"
            )


def with_groups(labels: Labels, pattern: str | None) -> Labels:
    """Return the labels with the group of each image read from its path; None keeps the groups that they have.

    The first parenthesis of the regular expression is the group's name, or all that it matches; "none" makes each
    image a group. Raises ValueError for a broken pattern, or a path in which it finds nothing.
    """
    images = [normalize_path(image) for image in labels.images]
    if pattern is None:
        return labels
    names = images
    if pattern != "none":
        try:
            search = re.compile(pattern).search
        except re.error as error:
            raise ValueError(f"data.group={pattern!r} is not a regular expression: {error}") from error
        matches = [search(image) for image in images]
        names = [(match[1 if match.re.groups else 0] or "") if match else "" for match in matches]
    if "" in names:
        raise ValueError(
            f"data.group={pattern!r} finds nothing in {names.count('')} of {len(names)} paths, first"
            f" {images[names.index('')]!r}; write one that matches every path, or none to split single images"
        )
    subjects = (replace(subject, group=name) for subject, name in zip(labels.subjects, names, strict=True))
    return replace(labels, subjects=tuple(subjects))


def split_labels(labels: Labels, split: Split, seed: int) -> dict[str, np.ndarray]:
    """Return the rows of `labels` that belong to train, val and test; `labels` have the groups of `split.group`.

    A split file decides, else folds, else the split that the labels state, else a random one by `split_seed`; `seed`
    draws the images of a limit. Raises ValueError where a split would be without a labeled point.
    """
    drawn_by = seed if split.split_seed is None else split.split_seed
    if split.group not in (None, "none") and len(set(labels.groups)) == 1 < len(set(labels.images)):
        raise ValueError(
            f"data.group={split.group!r} finds {labels.groups[0]!r} in every path, and one group cannot be split; write"
            " one that tells groups apart, or none to split single images"
        )
    chosen = not (split.splits is None and split.fold is None and split.group is None)
    stated = None if chosen else stated_split(labels, drawn_by, split.val)
    if split.splits is not None:
        rows = read_splits(split.splits, labels.images)
        if not len(rows["val"]):
            rows["train"], rows["val"] = carve_val(labels, rows["train"], np.random.default_rng(drawn_by), split.val)
    elif split.fold is not None and split.folds is not None:
        rows = fold_split(labels, drawn_by, split.fold, split.folds, split.val)
    elif stated is not None:
        rows = stated
    else:
        rows = seeded_split(labels, drawn_by, split.val, split.test)
        _warn_large_test(rows, split.test)
    rows["train"] = limit_rows(labels, rows["train"], seed, split.limit, split.limit_groups)
    _check_labeled(labels, rows)
    return rows


def stated_split(labels: Labels, seed: int, val: float) -> dict[str, np.ndarray] | None:
    """Return the split that the label file states; None where it states none for some image.

    Without a test split, the stated val split becomes the test split, and val is taken out of train.
    """
    names = [labels.splits.get(image) for image in labels.images]
    rows = {split: np.flatnonzero([name == split for name in names]) for split in SPLITS}
    if sum(map(len, rows.values())) < len(labels) or not len(rows["train"]) or len(rows["train"]) == len(labels):
        return None
    if not len(rows["test"]):
        rows["test"], rows["val"] = rows["val"], rows["test"]
    if not len(rows["val"]):
        rows["train"], rows["val"] = carve_val(labels, rows["train"], np.random.default_rng(seed), val)
    _log.info("%s states its own split, which is used; data.group=none or data.splits chooses another", labels.source)
    return rows


def images_of(labels: Labels, rows: dict[str, np.ndarray]) -> dict[str, list[str]]:
    """Return the image of each row, by split."""
    return {split: [labels.images[row] for row in indices] for split, indices in rows.items()}


def _check_labeled(labels: Labels, rows: dict[str, np.ndarray]) -> None:
    for split, indices in rows.items():
        if not (labels.visibility[indices] > 0).any():
            raise ValueError(
                f"none of the {len(indices)} {split} images has a labeled point in {labels.source}; "
                "move labeled images there by data.splits, or change seed"
            )
    counts = (labels.visibility[rows["train"]] > 0).sum(axis=0)
    if never := [name for name, count in zip(labels.skeleton.names, counts, strict=True) if not count]:
        _log.warning("no training image labels %s: it cannot be learned", ", ".join(never))


def _warn_large_test(rows: dict[str, np.ndarray], test: float) -> None:
    """Warn where whole groups make the test split far larger than its fraction."""
    share = len(rows["test"]) / sum(map(len, rows.values()))
    if share > 2 * test and len(rows["test"]) > 2:
        _log.warning(
            "whole folders or videos are tested, which takes %.0f %% of the images where data.test=%g asks for %.0f %%;"
            " data.group=none would split single images, neighbors in a video among them",
            100 * share,
            test,
            100 * test,
        )
