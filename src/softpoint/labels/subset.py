"""Subsets: evenly spaced ones, and random ones in which fewer labels are always a part of more."""

from __future__ import annotations

import numpy as np

from softpoint.labels.partition import image_units, units_of
from softpoint.labels.schema import Labels

# How many of the next units compete to come first: few, so that chance decides and evenness only helps it.
_CANDIDATES = 16


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
    sizes = np.array([len(unit) for unit in units])
    present = np.array([(labels.visibility[unit] > 0).sum(0) for unit in units])
    order = nested_order(sizes, present, np.random.default_rng(seed), number)
    return np.sort(np.concatenate([units[i] for i in order]))


def nested_order(sizes: np.ndarray, present: np.ndarray, rng: np.random.Generator, count: int) -> list[int]:
    """Return the first `count` units of a random order whose every beginning has its share of each keypoint's labels.

    A unit is of `sizes` (U,) rows, and `present` (U, K) counts its labels. Units without labels come last.

    >>> labels = np.array([[1, 1], [1, 0], [1, 1], [1, 0], [1, 1], [1, 0], [0, 0], [1, 1]])
    >>> order = nested_order(np.ones(8), labels, np.random.default_rng(0), 8)
    >>> sorted(order) == list(range(8)), order[-1], labels[order[:4]].sum(0).tolist()
    (True, 6, [4, 2])
    """
    waiting = sorted(rng.permutation(len(sizes)).tolist(), key=lambda unit: not present[unit].any())
    rows, total = sizes.sum(), present.sum(0).clip(1)
    order: list[int] = []
    taken, seen = np.zeros(present.shape[1]), 0.0
    while len(order) < count:
        next_ones = np.array(waiting[:_CANDIDATES])
        if present[next_ones[0]].any():
            next_ones = next_ones[present[next_ones].any(1)]
        shares = (taken + present[next_ones]) / total - ((seen + sizes[next_ones]) / rows)[:, None]
        chosen = int(next_ones[(shares**2).sum(1).argmin()])
        waiting.remove(chosen)
        order.append(chosen)
        taken, seen = taken + present[chosen], seen + sizes[chosen]
    return order
