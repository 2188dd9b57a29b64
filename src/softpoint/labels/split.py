"""Assignment of labeled images to train, val and test, by rules or by a split file."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from softpoint.labels.csv_io import read_rows, write_rows
from softpoint.labels.partition import carve_val, fold_split, limit_rows, seeded_split
from softpoint.labels.schema import Labels
from softpoint.paths import normalize_path
from softpoint.suggest import did_you_mean

SPLITS = ("train", "val", "test")

# The split of images that belong to none of them, as data.limit leaves some.
UNUSED = "unused"

_SYNONYMS = {name: name for name in SPLITS} | {"validation": "val", "valid": "val", "dev": "val"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Rules by which images are split; groups of images, such as videos, are never divided.

    Args:
        splits: a CSV that assigns images to train, val and test; without val, val is taken out of train.
        val, test: fractions of the images, where neither such a file nor the labels name them; 0 trains on those that
            would be in the split, whatever names them.
        split_seed: of the random split; None for the seed of the data.
        fold, folds: for cross-validation: the test split is this one of so many parts.
        group: how groups are found; see `with_groups`.
        limit, limit_groups: number of images, or of whole groups, to train on; val and test stay. See `limit_rows`.
    """

    splits: str | Path | None = None
    val: float = 0.1
    test: float = 0.1
    split_seed: int | None = None
    fold: int | None = None
    folds: int | None = None
    group: str | None = "auto"
    limit: int | None = None
    limit_groups: int | None = None

    def __post_init__(self) -> None:
        if (self.fold is None) != (self.folds is None) or (self.splits is not None and self.folds is not None):
            raise ValueError(
                f"data.fold={self.fold}, data.folds={self.folds}, data.splits={self.splits}: give fold and folds"
                " together, and no split file beside them"
            )


def split_labels(labels: Labels, split: Split, seed: int) -> dict[str, np.ndarray]:
    """Return the rows of `labels` that belong to train, val and test; `labels` have the groups of `split.group`.

    A split file decides, else folds, else the split that the labels state, else a random one by `split_seed`, and a
    fraction of 0 leaves its split empty; `seed` draws the images of a limit. Raises ValueError where a split has images
    and no labeled point.
    """
    drawn_by = seed if split.split_seed is None else split.split_seed
    if split.group not in (None, "auto", "none") and len(set(labels.groups)) == 1 < len(set(labels.images)):
        raise ValueError(
            f"data.group={split.group!r} finds {labels.groups[0]!r} in every path, and one group cannot be split; write"
            " one that tells groups apart, or none to split single images"
        )
    if split.splits is not None:
        rows = read_splits(split.splits, labels.images)
        if not len(rows["val"]):
            rows["train"], rows["val"] = carve_val(labels, rows["train"], np.random.default_rng(drawn_by), split.val)
    elif split.fold is not None and split.folds is not None:
        rows = fold_split(labels, drawn_by, split.fold, split.folds, split.val)
    elif (
        (split.val or split.test)
        and split.group in (None, "auto")
        and (stated := stated_split(labels, drawn_by, split.val, split.test))
    ):
        rows = stated
    else:
        rows = seeded_split(labels, drawn_by, split.val, split.test)
        _warn_large_test(rows, split.test)
    for name, fraction in (("val", split.val), ("test", split.test)):
        if fraction == 0 and split.folds is None:
            rows["train"], rows[name] = np.sort(np.concatenate([rows["train"], rows[name]])), rows[name][:0]
    rows["train"] = limit_rows(labels, rows["train"], seed, split.limit, split.limit_groups)
    _check_labeled(labels, rows)
    return rows


def stated_split(labels: Labels, seed: int, val: float, test: float) -> dict[str, np.ndarray] | None:
    """Return the split that the label file states; None where it states none, or no training or no other image.

    Images without a stated split are trained on, which a warning counts. Without a test split, the stated val split
    becomes the test split, unless `test` is 0, and val is taken out of train.
    """
    names = [labels.splits.get(image, "train") for image in labels.images]
    rows = {split: np.flatnonzero([name == split for name in names]) for split in SPLITS}
    if not len(rows["train"]) or len(rows["train"]) == len(labels):
        return None
    if unstated := {image for image in labels.images if image not in labels.splits}:
        _log.warning(
            "%s states no split for %d of its %d images, first %s, which are trained on; data.splits=FILE places each",
            *(labels.source, len(unstated), len(set(labels.images)), min(unstated)),
        )
    if test and not len(rows["test"]):
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
        if (len(indices) or split == "train") and not (labels.visibility[indices] > 0).any():
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


def split_name(word: str) -> str | None:
    """Return train, val or test for any of its usual names; None for another word.

    >>> split_name("Validation"), split_name("images")
    ('val', None)
    """
    return _SYNONYMS.get(word.strip().lower())


def read_splits(path: str | Path, images: Sequence[str]) -> dict[str, np.ndarray]:
    """Return indices into `images` for train, val and test from a split file.

    val may be empty (see `carve_val`). An image with split "unused" is in none of them, one that the file
    lacks is an error; a row for an image that is not in `images` is only a warning, because leaving bad labels out of
    a set is good practice.
    Raises FileNotFoundError for a missing file, ValueError for anything else.
    """
    path = Path(path)
    split_of = _read(path)
    keys = [normalize_path(image) for image in images]
    if missing := [image for image, key in zip(images, keys, strict=True) if key not in split_of]:
        raise ValueError(
            f"{path} lacks {len(missing)} of {len(images)} labeled images, first {missing[0]};"
            " add their rows, or leave data.splits empty for a seeded split"
        )
    if unknown := sorted(set(split_of) - set(keys)):
        warnings.warn(
            f"{path}: {len(unknown)} of its images are left out, not being labeled; first {unknown[0]}",
            stacklevel=2,
        )
    splits = {name: np.array([i for i, key in enumerate(keys) if split_of[key] == name], int) for name in SPLITS}
    for name in ("train", "test"):
        if not len(splits[name]):
            raise ValueError(f"{path} has no {name} image among the {len(images)} labeled; it needs at least one")
    return splits


def _read(path: Path) -> dict[str, str]:
    """Return the split of each image in the file."""
    if not path.is_file():
        raise FileNotFoundError(f"split file {path} does not exist; write one, or leave data.splits empty")
    rows = read_rows(path)
    header = rows[0][1] if rows else []
    if len(header) != 2 or header[1].lower() != "split" or header[0].lower() not in ("", "image"):
        raise ValueError(f"{path}: its header is {','.join(header)!r}; it must be 'image,split' or ',split'")
    names = _SYNONYMS | {UNUSED: UNUSED}
    splits: dict[str, str] = {}
    lines: dict[str, int] = {}
    for line, cells in rows[1:]:
        if len(cells) != 2 or not cells[0]:
            raise ValueError(f"{path} line {line}: {cells} is not an image and its split")
        image, split = normalize_path(cells[0]), names.get(cells[1].lower())
        if split is None:
            raise ValueError(f"{path} line {line}: split {cells[1]!r}; {did_you_mean(cells[1], names)}")
        if image in splits:
            raise ValueError(f"{path}: lines {lines[image]} and {line} both place {image}; remove one")
        splits[image], lines[image] = split, line
    return splits


def write_splits(path: str | Path, images: Sequence[str], splits: Mapping[str, Sequence[int] | np.ndarray]) -> None:
    """Write a CSV that `read_splits` reads back, atomically.

    An image that several subjects share has one row: a split never divides it. Images of no split are unused.
    """
    names = {int(index): name for name, indices in splits.items() for index in indices}
    assert len(names) == sum(map(len, splits.values())) <= len(images)
    rows = {(image, names.get(index, UNUSED)): None for index, image in enumerate(images)}
    assert len(rows) == len(set(images))
    write_rows(Path(path), [("image", "split"), *rows])
