"""Marks of missing points: words in place of numbers, and coordinates that tools write where there is no point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from softpoint.labels.csv_io import exact
from softpoint.labels.schema import UNLABELED, Labels

# What a cell without a number holds, in small letters.
WORDS = {"", "na", "n/a", "nan", "none", "null"}

# Coordinates of missing points: the first is no pixel; the second is one, where a person may place a single point.
MARKS = ((-1.0, -1.0), (0.0, 0.0))

# The same coordinates in so many images, and in this share of those that label a keypoint, or more than within so many
# pixels about them, were not placed by a person.
_REPEATED, _REPEATED_SHARE, _NEAR = 5, 0.1, 3

_MARKED = "points at exactly ({:g}, {:g}), which mark missing ones (data.missing=none keeps them)"

Missing = str | Sequence[Sequence[float]]


def marks_of(missing: Missing) -> np.ndarray:
    """Return the coordinates (M, 2) that mark missing points by data.missing: "auto", "none", or a list of others.

    >>> marks_of("none").shape, marks_of([[-5, -5]]).tolist()
    ((0, 2), [[-1.0, -1.0], [0.0, 0.0], [-5.0, -5.0]])
    """
    if missing in ("auto", "none"):
        return np.array(MARKS if missing == "auto" else [], np.float64).reshape(-1, 2)
    try:
        marks = np.array([] if isinstance(missing, str) else missing, np.float64)
    except (ValueError, TypeError):
        marks = np.array([])
    if marks.ndim != 2 or marks.shape[1] != 2:
        raise ValueError(f"data.missing={missing}: write auto, none, or a list of points such as [[-5,-5]]")
    return np.concatenate([MARKS, marks])


def without_marks(labels: Labels, missing: Missing = "auto") -> Labels:
    """Return the labels without the points that the file writes at exactly the coordinates of `marks_of`.

    `unused` counts them. A single point at (0, 0) stays unless that is listed. A subject without any other point and
    box is left out, unless it is the only one of its image.
    """
    unused = dict(labels.unused)
    marked, written = np.zeros(labels.visibility.shape, bool), labels.written
    for number, mark in enumerate(marks_of(missing)):
        here = (written == mark).all(axis=2) & (labels.visibility > 0)
        if number < len(MARKS) and not mark.any() and here.sum() == 1:
            continue
        unused[_MARKED.format(*mark)] = int(here.sum())
        marked |= here
    if not marked.any():
        return labels
    states = np.where(marked, UNLABELED, labels.visibility)
    filled = states.any(axis=1) | np.isfinite(labels.boxes).all(axis=1)
    images = {path for path, any_ in zip(labels.paths, filled.tolist(), strict=True) if any_}
    kept = []
    for i, needed in enumerate((filled | ~marked.any(axis=1)).tolist()):
        if needed or labels.paths[i] not in images:
            kept.append(i)
            images.add(labels.paths[i])
    points = np.where(marked[..., None], np.nan, labels.keypoints)
    return replace(labels.changed(keypoints=points, visibility=states).select(kept), unused=unused)


def exact_point(point: np.ndarray) -> str:
    """Return the coordinates of a point as `data.missing` has to list them: with all digits.

    >>> exact_point(np.array([5.0, 0.12345678]))
    '5, 0.12345678'
    """
    return ", ".join(exact(value).removesuffix(".0") for value in point.tolist())


def repeated_points(labels: Labels) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Return keypoint, written coordinates (2,) and subjects of the points that many images have at one position.

    Many are a share of the images that label the keypoint; or more than have it elsewhere within a few pixels, in more
    than one video or folder: a person who copies the labels of a still frame does that within one.
    """
    repeated, written = [], labels.written
    groups = np.unique(np.array(labels.groups, dtype=object).astype(str), return_inverse=True)[1].ravel()
    for k in range(len(labels.skeleton)):
        rows = np.flatnonzero(labels.visibility[:, k] > 0)
        positions, which, counts = np.unique(written[rows, k], axis=0, return_inverse=True, return_counts=True)
        for i in np.flatnonzero(counts >= _REPEATED):
            here = rows[which.ravel() == i]
            near = counts[(np.abs(positions - positions[i]) <= _NEAR).all(1)].sum() - counts[i]
            spread = len(set(groups[here])) > 1 or not groups.any()
            if counts[i] >= _REPEATED_SHARE * len(rows) or (spread and counts[i] > near):
                repeated.append((k, positions[i], here))
    return repeated
