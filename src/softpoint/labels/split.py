"""Which images train, choose the model and give the final number: drawn by a seed, never dividing a group."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

import numpy as np

from softpoint.labels.schema import Labels
from softpoint.paths import normalize_path

# How many random partitions compete to share every keypoint's labels out evenly.
_DRAWS = 64

_log = logging.getLogger(__name__)

Split = dict[str, np.ndarray]


def find_groups(labels: Labels, pattern: str | None) -> tuple[str, ...]:
    """What each subject's image belongs to: with a `pattern`, what it finds in the path, else `labels.groups`.

    A regular expression names the group by its first parenthesis, or by all it matches; "none" makes each
    image a group of its own. Raises ValueError for a broken pattern or a path in which it finds nothing.
    """
    images = [normalize_path(image) for image in labels.images]
    if pattern is None:
        return labels.groups
    if pattern == "none":
        return tuple(images)
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise ValueError(f"data.group={pattern!r} is not a regular expression: {error}") from error
    matches = [search(image) for image in images]
    names = tuple((match[1 if match.re.groups else 0] or "") if match else "" for match in matches)
    if "" in names:
        raise ValueError(
            f"data.group={pattern!r} finds nothing in {names.count('')} of {len(names)} paths, first"
            f" {images[names.index('')]!r}; write one that matches every path, or none to split single images"
        )
    if len(set(names)) == 1 < len(set(images)):
        raise ValueError(
            f"data.group={pattern!r} finds {names[0]!r} in every path, and one group cannot be split; write one that"
            " tells groups apart, or none to split single images"
        )
    return names


def seeded_split(labels: Labels, groups: Sequence[str], seed: int, val: float, test: float) -> Split:
    """Rows of `labels` for train, val and test: whole groups, as many images as asked where groups allow it.

    Test is whole groups where there are two or more. So is val, unless that would leave less than half of the
    images to train on: then val is single images of the training groups, which choose the model but do not
    enter the final number. With one group all are single images. Among many random choices the one is taken
    that shares the labels of every keypoint out most evenly.
    Raises ValueError for fewer than three images or fractions that leave nothing to train on.
    """
    images = [normalize_path(image) for image in labels.images]
    if (count := len(set(images))) < 3:
        raise ValueError(f"{count} labeled images cannot fill train, val and test; label at least 3")
    if not (0 < val < 1 and 0 < test < 1 and val + test < 1):
        raise ValueError(f"split fractions val={val} and test={test} must be above 0 and sum to less than 1")
    rng = np.random.default_rng(seed)
    everything = np.arange(len(labels))
    units = units_of(everything, groups if len(set(groups)) > 1 else images)
    rest, held = _hold_out(units, test, labels, rng, leave=2 if len(units) > 2 else 1)
    train, chosen = carve_val(labels, groups, np.concatenate(rest), rng, val / (1 - test))
    return {"train": train, "val": chosen, "test": np.sort(np.concatenate(held))}


def stated_split(labels: Labels, groups: Sequence[str], seed: int, val: float) -> Split | None:
    """Rows for train, val and test as the label file itself states them; None where it does not, for all images.

    Without a test split, the final number comes from the val that is stated, and another val is taken out of train.
    """
    names = [labels.splits.get(image) for image in labels.images]
    rows = {name: np.flatnonzero([found == name for found in names]) for name in ("train", "val", "test")}
    if sum(map(len, rows.values())) < len(labels) or not len(rows["train"]) or len(rows["train"]) == len(labels):
        return None
    if not len(rows["test"]):
        rows["test"], rows["val"] = rows["val"], rows["test"]
    if not len(rows["val"]):
        rows["train"], rows["val"] = carve_val(labels, groups, rows["train"], np.random.default_rng(seed), val)
    _log.info("%s states its own split, which is used: data.group=none or data.splits asks for another", labels.source)
    return rows


def fold_split(labels: Labels, groups: Sequence[str], seed: int, fold: int, folds: int, val: float) -> Split:
    """The split of one of `folds` cross-validations: each row is tested in exactly one fold from 0 to folds - 1.

    Raises ValueError for a fold out of range and for fewer groups than folds.
    """
    if not 0 <= fold < folds or folds < 2:
        raise ValueError(f"data.fold={fold} must be from 0 to data.folds - 1, and data.folds={folds} at least 2")
    images = [normalize_path(image) for image in labels.images]
    units = units_of(np.arange(len(labels)), groups if len(set(groups)) > 1 else images)
    if len(units) < folds:
        raise ValueError(
            f"{len(units)} groups of images cannot fill {folds} folds; set data.folds={len(units)}, or split single"
            " images by data.group=none"
        )
    parts, rest = [], units
    rng = np.random.default_rng(seed)
    for left in range(folds, 1, -1):
        rest, held = _hold_out(rest, 1 / left, labels, rng, leave=left - 1)
        parts.append(np.concatenate(held))
    parts.append(np.concatenate(rest))
    remaining = np.concatenate([part for i, part in enumerate(parts) if i != fold])
    train, chosen = carve_val(labels, groups, remaining, np.random.default_rng([seed, fold]), val)
    return {"train": train, "val": chosen, "test": np.sort(parts[fold])}


def carve_val(
    labels: Labels, groups: Sequence[str], rows: np.ndarray, rng: np.random.Generator, fraction: float
) -> tuple[np.ndarray, np.ndarray]:
    """(train, val): about a `fraction` of `rows`, as whole groups if that leaves half of them to train on.

    Raises ValueError where `rows` are of fewer than two images.
    """
    images = [normalize_path(image) for image in labels.images]
    if len({images[row] for row in rows}) < 2 or not 0 < fraction < 1:
        raise ValueError(
            f"cannot take a fraction {fraction:g} of {len(rows)} training images for validation; label more images,"
            " or name val images in data.splits"
        )
    units = units_of(rows, groups)
    if len(units) > 1:
        rest, held = _hold_out(units, fraction, labels, rng, leave=1)
        if 2 * sum(map(len, rest)) >= len(rows):
            return np.sort(np.concatenate(rest)), np.sort(np.concatenate(held))
    if len(set(groups)) > 1:
        _log.info("validation images come from groups that also train: there are too few groups to set one aside")
    rest, held = _hold_out(units_of(rows, images), fraction, labels, rng, leave=1)
    return np.sort(np.concatenate(rest)), np.sort(np.concatenate(held))


def units_of(rows: np.ndarray, names: Sequence[str]) -> list[np.ndarray]:
    """The rows that must stay together, by name."""
    members: dict[str, list[int]] = {}
    for row in rows:
        members.setdefault(names[row], []).append(int(row))
    return [np.array(part) for part in members.values()]


def _hold_out(
    units: list[np.ndarray], fraction: float, labels: Labels, rng: np.random.Generator, leave: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(rest, held): random units that are about a `fraction` of all rows, while at least `leave` units stay."""
    sizes = np.array([len(unit) for unit in units])
    present = np.array([(labels.visibility[unit] > 0).sum(0) for unit in units])
    wanted = max(1.0, fraction * sizes.sum())
    choices = [_draw(sizes, wanted, rng, leave) for _ in range(_DRAWS)]
    held = min(choices, key=lambda choice: _unevenness(choice, sizes, present, wanted))
    return [units[i] for i in np.flatnonzero(~held)], [units[i] for i in np.flatnonzero(held)]


def _draw(sizes: np.ndarray, wanted: float, rng: np.random.Generator, leave: int) -> np.ndarray:
    """A random choice of units that hold `wanted` rows, about; at least one."""
    held = np.zeros(len(sizes), bool)
    room = wanted
    for unit in rng.permutation(len(sizes)):
        # A unit that overshoots is taken when that comes nearer than stopping short.
        if sizes[unit] <= 2 * room and held.sum() < len(sizes) - leave:
            held[unit] = True
            room -= sizes[unit]
        if 2 * room < sizes.min():
            break
    if not held.any():
        held[np.argmin(sizes)] = True
    return held


def _unevenness(held: np.ndarray, sizes: np.ndarray, present: np.ndarray, wanted: float) -> float:
    """How far a choice is from the wanted number of rows and from its share of each keypoint's labels."""
    share = sizes[held].sum() / sizes.sum()
    total = present.sum(0)
    taken = present[held].sum(0) / total.clip(1)
    # A keypoint that only held images show cannot be learned.
    lost = ((taken == 1) & (total > 0)).sum()
    return float(lost + ((taken - share)[total > 0] ** 2).mean() + (share - wanted / sizes.sum()) ** 2)
