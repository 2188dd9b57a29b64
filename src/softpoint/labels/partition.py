"""Random partitions and nested subsets of labeled images, which share every keypoint's labels out evenly."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np

from softpoint.labels.schema import Labels

# Number of random partitions of which the most even one is taken.
_DRAWS = 64

# Number of next units that compete to come first in a nested order: few, so that chance decides and evenness only
# helps it.
_CANDIDATES = 16

_NONE = np.array([], int)

_log = logging.getLogger(__name__)


def seeded_split(labels: Labels, seed: int, val: float, test: float) -> dict[str, np.ndarray]:
    """Return rows of `labels` for train, val and test: whole groups, of about these fractions of the images.

    Test is whole groups where there are two or more. So is val, unless that would leave less than half of the
    images to train on: then val is single images of the training groups, which choose the model but do not
    enter the final number. With one group all are single images. Of many random partitions, the one that shares the
    labels of every keypoint out most evenly is taken. A split of fraction 0 is empty.
    Raises ValueError for fewer images than splits, and for fractions that leave nothing to train on.
    """
    count, needed = len(set(labels.paths)), 1 + (val > 0) + (test > 0)
    if count < needed:
        raise ValueError(f"{count} labeled images cannot fill train, val and test; label at least {needed}")
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise ValueError(f"split fractions val={val} and test={test} must be 0 or more and sum to less than 1")
    rng = np.random.default_rng(seed)
    rest, held = _largest_units(labels), [_NONE]
    if test:
        rest, held = _hold_out(rest, test, labels, rng, leave=2 if len(rest) > 2 else 1)
    train, chosen = carve_val(labels, np.concatenate(rest), rng, val / (1 - test))
    return {"train": train, "val": chosen, "test": np.sort(np.concatenate(held))}


def fold_split(labels: Labels, seed: int, fold: int, folds: int, val: float) -> dict[str, np.ndarray]:
    """Return the split of one fold of a cross-validation; each row is tested in exactly one fold, 0 to folds - 1.

    Raises ValueError for a fold out of range and for fewer groups than folds.
    """
    if not 0 <= fold < folds or folds < 2:
        raise ValueError(f"data.fold={fold} must be from 0 to data.folds - 1, and data.folds={folds} at least 2")
    units = _largest_units(labels)
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
    train, chosen = carve_val(labels, remaining, np.random.default_rng([seed, fold]), val)
    return {"train": train, "val": chosen, "test": np.sort(parts[fold])}


def carve_val(
    labels: Labels, rows: np.ndarray, rng: np.random.Generator, fraction: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return (train, val): about a `fraction` of `rows`, as whole groups if that leaves half of them to train on.

    A fraction of 0 takes none. Raises ValueError where `rows` are of fewer than two images.
    """
    if fraction == 0:
        return np.sort(rows), _NONE
    by_image = image_units(labels, rows)
    if len(by_image) < 2 or not 0 < fraction < 1:
        raise ValueError(
            f"cannot take a fraction {fraction:g} of {len(rows)} training images for validation; label more images,"
            " or name val images in data.splits"
        )
    units = units_of(rows, labels.groups)
    if len(units) > 1:
        rest, held = _hold_out(units, fraction, labels, rng, leave=1)
        if 2 * sum(map(len, rest)) >= len(rows):
            return np.sort(np.concatenate(rest)), np.sort(np.concatenate(held))
    if len(set(labels.groups)) > 1:
        _log.info("validation images come from groups that also train: there are too few groups to set one aside")
    rest, held = _hold_out(by_image, fraction, labels, rng, leave=1)
    return np.sort(np.concatenate(rest)), np.sort(np.concatenate(held))


def units_of(rows: Iterable[int], names: Sequence[str]) -> list[np.ndarray]:
    """Return `rows` by their name, in the order in which names first come."""
    members: dict[str, list[int]] = {}
    for row in rows:
        members.setdefault(names[row], []).append(int(row))
    return [np.array(unit) for unit in members.values()]


def image_units(labels: Labels, rows: Iterable[int]) -> list[np.ndarray]:
    """Return `rows` by their image."""
    return units_of(rows, labels.paths)


def _largest_units(labels: Labels) -> list[np.ndarray]:
    """Return all rows by group, or by image where there is only one group."""
    rows = range(len(labels))
    return units_of(rows, labels.groups) if len(set(labels.groups)) > 1 else image_units(labels, rows)


def _hold_out(
    units: list[np.ndarray], fraction: float, labels: Labels, rng: np.random.Generator, leave: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return (rest, held): random units that are about a `fraction` of all rows, while at least `leave` units stay."""
    sizes, present = _sizes_and_labels(units, labels)
    present = present[:, present.any(0)]
    rows, labeled = sizes.sum(), present.sum(0)
    wanted = max(1.0, fraction * rows)

    def unevenness(held: np.ndarray) -> float:
        """How far a choice is from the wanted number of rows and from its share of each keypoint's labels."""
        share, taken = sizes[held].sum() / rows, present[held].sum(0) / labeled
        # A keypoint that only held images show cannot be learned.
        lost = (taken == 1).sum()
        uneven = ((taken - share) ** 2).mean() if len(taken) else 0.0
        return float(lost + uneven + (share - wanted / rows) ** 2)

    held = min((_draw(sizes, wanted, rng, leave) for _ in range(_DRAWS)), key=unevenness)
    return [units[i] for i in np.flatnonzero(~held)], [units[i] for i in np.flatnonzero(held)]


def _draw(sizes: np.ndarray, wanted: float, rng: np.random.Generator, leave: int) -> np.ndarray:
    """Return a random mask of units that hold about `wanted` rows; at least one unit."""
    held = np.zeros(len(sizes), bool)
    order, smallest = rng.permutation(len(sizes)), int(sizes.argmin())
    rooms = wanted - (sizes[order].cumsum() - sizes[order])  # before each unit, if all before it are taken
    # A unit that overshoots is taken when that comes nearer than stopping short.
    fits = np.append(sizes[order] <= 2 * rooms, False)[: len(sizes) - leave + 1]
    fits[-1] = False  # the spare units are taken
    first = int(fits.argmin())
    held[order[:first]] = True
    room, spare = wanted - float(sizes[order[:first]].sum()), len(sizes) - leave - first
    for unit in order[first:] if spare else ():
        if 2 * room < sizes[smallest]:
            break
        if spare and sizes[unit] <= 2 * room:
            held[unit] = True
            room, spare = room - sizes[unit], spare - 1
    if not held.any():
        held[smallest] = True
    return held


def _sizes_and_labels(units: list[np.ndarray], labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of rows (U,) of each unit, and that of its labels of each keypoint (U, K)."""
    sizes = np.array([len(unit) for unit in units])
    labeled = labels.visibility[np.concatenate(units)] > 0
    return sizes, np.add.reduceat(labeled, sizes.cumsum() - sizes, dtype=np.int64)


def evenly_spaced(length: int, count: int) -> list[int]:
    """Return up to `count` of the indices below `length`, from the first to the last.

    >>> evenly_spaced(10, 4), evenly_spaced(2, 4)
    ([0, 3, 6, 9], [0, 1])
    """
    return [round(float(place)) for place in np.linspace(0, length - 1, min(length, count))]


def limit_rows(
    labels: Labels, rows: np.ndarray, seed: int, images: int | None = None, groups: int | None = None
) -> np.ndarray:
    """Return the training `rows` of the first `groups` groups, and of these the first `images` images.

    The order of each is drawn by `seed` alone, so that the rows of a smaller number are among those of a larger
    one, and each beginning of it shares the labels of every keypoint out. Images without any label come last.
    Raises ValueError for a number below 1 or above what there is.
    """
    if groups is not None:
        rows = _first("limit_groups", groups, "group", units_of(rows, labels.groups), labels, seed)
    if images is not None:
        rows = _first("limit", images, "image", image_units(labels, rows), labels, seed)
    return rows


def _first(key: str, number: int, unit: str, units: list[np.ndarray], labels: Labels, seed: int) -> np.ndarray:
    """Return the rows of the first `number` units, sorted."""
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= len(units):
        total = f"there {'is' if len(units) == 1 else 'are'} {len(units)} training {unit}{'s' * (len(units) != 1)}"
        raise ValueError(f"data.{key}={number}: {total}; choose a number from 1 to that, or null for all")
    order = nested_order(*_sizes_and_labels(units, labels), np.random.default_rng(seed), number)
    return np.sort(np.concatenate([units[i] for i in order]))


def nested_order(sizes: np.ndarray, present: np.ndarray, rng: np.random.Generator, count: int) -> list[int]:
    """Return the first `count` units of a random order whose every beginning has its share of each keypoint's labels.

    A unit is of `sizes` (U,) rows, and `present` (U, K) counts its labels. Units without labels come last.

    >>> labels = np.array([[1, 1], [1, 0], [1, 1], [1, 0], [1, 1], [1, 0], [0, 0], [1, 1]])
    >>> order = nested_order(np.ones(8), labels, np.random.default_rng(0), 8)
    >>> sorted(order) == list(range(8)), order[-1], labels[order[:4]].sum(0).tolist()
    (True, 6, [4, 2])
    """
    unlabeled = np.logical_not(present.any(1))
    waiting = iter(sorted(rng.permutation(len(sizes)).tolist(), key=unlabeled.__getitem__))
    competing = list(islice(waiting, _CANDIDATES))
    rows, total = sizes.sum(), present.sum(0).clip(1)
    order: list[int] = []
    taken, seen = np.zeros(present.shape[1]), 0.0
    while len(order) < count:
        candidates = np.array(competing)
        if not unlabeled[candidates[0]]:
            candidates = candidates[~unlabeled[candidates]]
        shares = (taken + present[candidates]) / total - ((seen + sizes[candidates]) / rows)[:, None]
        chosen = int(candidates[(shares**2).sum(1).argmin()])
        competing.remove(chosen)
        competing += islice(waiting, 1)
        order.append(chosen)
        taken, seen = taken + present[chosen], seen + sizes[chosen]
    return order
