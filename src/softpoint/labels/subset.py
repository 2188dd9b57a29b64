"""Training on fewer labels than there are, drawn so that less is always a part of more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from softpoint.labels.schema import Labels
from softpoint.labels.split import units_of
from softpoint.paths import normalize_path

# How many of the next images compete to come first: few, so that chance decides and evenness only helps it.
_CANDIDATES = 16


def limited(
    labels: Labels,
    groups: Sequence[str],
    rows: np.ndarray,
    seed: int,
    images: int | None = None,
    whole_groups: int | None = None,
) -> np.ndarray:
    """Those of the training `rows` that belong to the first `whole_groups` groups, and of these the first `images`.

    The order of each is drawn by `seed` alone, so that the rows of a smaller number are among those of a larger
    one, and each beginning of it shares the labels of every keypoint out. Images without any label come last.
    Raises ValueError for a number below 1 or above what there is.
    """
    if whole_groups is not None:
        rows = _first("limit_groups", whole_groups, "group", units_of(rows, groups), labels, seed)
    if images is not None:
        paths = [normalize_path(image) for image in labels.images]
        rows = _first("limit", images, "image", units_of(rows, paths), labels, seed)
    return rows


def _first(key: str, number: int, what: str, units: list[np.ndarray], labels: Labels, seed: int) -> np.ndarray:
    """The rows of the first `number` units, sorted."""
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= len(units):
        have = f"there {'is' if len(units) == 1 else 'are'} {len(units)} training {what}{'s' * (len(units) != 1)}"
        raise ValueError(f"data.{key}={number}: {have}; choose a number from 1 to that, or null for all")
    sizes = np.array([len(unit) for unit in units])
    present = np.array([(labels.visibility[unit] > 0).sum(0) for unit in units])
    order = nested_order(sizes, present, np.random.default_rng(seed), number)
    return np.sort(np.concatenate([units[i] for i in order]))


def nested_order(sizes: np.ndarray, present: np.ndarray, rng: np.random.Generator, count: int) -> list[int]:
    """The first `count` of units in a random order whose every beginning has its share of each keypoint's labels.

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
