"""Findings about poses: exchanged left and right, and points far from where the other points predict them.

Every subject is judged by a pose model that was fitted without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from softpoint.audit.pose_model import PoseModel
from softpoint.audit.report import Example, Finding, finding_of
from softpoint.labels.partition import evenly_spaced
from softpoint.labels.schema import Labels
from softpoint.progress import track

_MIN_SUBJECTS = 30  # to fit a model; and three per keypoint
_MAX_SUBJECTS = 1000  # that a model is fitted to
_FOLDS, _FEW_FOLDS = 5, 2  # for small sets, and for those of which half the subjects are enough
_MAX_COORDINATE = 1e6  # pixels; no image is so large

# Squared distance, in units in which half of all labeled points are within 1.39 (a Gaussian's median). Measured: no
# subject of three sets exceeds it, and 14 of 525 of a fourth; of points moved by a quarter of their subject's size,
# 16 of 24 do with 4 keypoints, and 125 of 132 with 12 or more.
_OUTLIER = 60.0
# Decrease of a subject's squared distance by an exchanged pair, and the largest distance of that pair afterwards.
# Measured with every tenth or fiftieth subject exchanged: 137 of 150 are detected, and 2 of 2,300 others flagged, not
# counting one that is a real mistake in published labels.
_SWAP_GAIN, _SWAP_FIT = 10.0, 20.0

Pair = tuple[int, int]


def pose_findings(labels: Labels) -> list[Finding]:
    """Return the findings about poses; none if there are too few subjects to fit a model."""
    names = labels.skeleton.names
    swaps: list[Example] = []
    outliers: list[tuple[float, Example]] = []
    for category in list(labels.categories) or [""]:
        kinds = labels.columns.texts("category")
        rows = [i for i, kind in enumerate(kinds) if not labels.categories or kind == category]
        for i, pairs, distances in _judge(labels, rows):
            if pairs:
                value, points = ", ".join(f"{names[a]} and {names[b]}" for a, b in pairs), chain.from_iterable(pairs)
                swaps.append(Example(labels.images[i], labels.places[i], value, i, tuple(points)))
            if distances:
                value = ", ".join(names[k] for k in distances)
                example = Example(labels.images[i], labels.places[i], value, i, tuple(distances))
                outliers.append((max(distances.values()), example))
    outliers.sort(key=lambda outlier: -outlier[0])
    exchange = "check findings.png and exchange the labels; mirrored views may be right as they are"
    message = "subjects with points far from where their other points predict them"
    correct = "check findings.png; correct them, or keep them if the pose is rare but right"
    return [
        *finding_of("left_right_swap", "warning", "subjects whose left and right seem exchanged", swaps, exchange),
        *finding_of("unusual_pose", "warning", message, [example for _, example in outliers], correct),
    ]


def _judge(labels: Labels, rows: Sequence[int]) -> list[tuple[int, list[Pair], dict[int, float]]]:
    """Return index, exchanged pairs and outliers with their distance, for each subject in `rows` that has any."""
    points = normalized_points(labels, rows)
    labeled = np.isfinite(points[..., 0])
    kept = np.flatnonzero(labeled.sum(axis=0) >= _MIN_SUBJECTS / 3)  # rarer keypoints have no usual position
    enough = labeled[:, kept].sum(axis=1) >= 2
    used, poses = np.asarray(rows)[enough], points[enough][:, kept]
    if len(used) < max(_MIN_SUBJECTS, 3 * len(kept)):
        return []
    folds = _FOLDS if len(used) < 2 * _MAX_SUBJECTS else _FEW_FOLDS
    fold = np.arange(len(used)) % folds
    others = [poses[fold != f] for f in range(folds)]
    models = [PoseModel(fitted[evenly_spaced(len(fitted), _MAX_SUBJECTS)]) for fitted in others]
    unit = _units(np.array([models[f].point_distances(pose) for f, pose in zip(fold, poses, strict=True)]))
    position = {int(k): at for at, k in enumerate(kept)}
    pairs = [(labels.skeleton.index(left), labels.skeleton.index(right)) for left, right in labels.skeleton.flip_pairs]
    pairs = [(position[a], position[b]) for a, b in pairs if a in position and b in position]
    verdicts = []
    for row, f, pose in track(zip(used, fold, poses, strict=True), "judging poses", len(used)):
        swapped, pose = _undo_swaps(models[f], pose, pairs, unit)
        outliers = _outliers(models[f], pose, unit)
        if swapped or outliers:
            named = [(int(kept[a]), int(kept[b])) for a, b in swapped]
            verdicts.append((int(row), named, {int(kept[k]): value for k, value in outliers.items()}))
    return verdicts


def _units(distances: np.ndarray) -> np.ndarray:
    """Return for each column (N, K) the unit in which its median is that of a 2-D Gaussian's distance, 2 ln 2."""
    medians = [np.median(column[np.isfinite(column)]) if np.isfinite(column).any() else 0 for column in distances.T]
    return np.array([median / (2 * np.log(2)) if median > 0 else 1.0 for median in medians])


def normalized_points(labels: Labels, rows: Sequence[int]) -> np.ndarray:
    """Return points (N, K, 2) relative to their boxes, or in pixels if one has no box; NaN for absurd coordinates."""
    points, boxes = labels.keypoints[list(rows)], labels.boxes[list(rows)]
    points = np.where((np.abs(points) < _MAX_COORDINATE).all(axis=2, keepdims=True), points, np.nan)
    extent = np.linalg.norm(boxes[:, 2:] - boxes[:, :2], axis=1)
    if (extent > 0).all():
        points = (points - (boxes[:, None, :2] + boxes[:, None, 2:]) / 2) / extent[:, None, None]
    return points


def _undo_swaps(
    model: PoseModel, pose: np.ndarray, pairs: Sequence[Pair], unit: np.ndarray
) -> tuple[list[Pair], np.ndarray]:
    """Return the pairs whose exchange makes the pose much more likely, and the pose after it.

    They are exchanged one by one, the greatest gain first, or all at once.
    """
    usable = [pair for pair in pairs if np.isfinite(pose[list(pair)]).all()]
    moves = [[pair] for pair in usable] + ([usable] if len(usable) > 1 else [])
    scale, swapped = float(np.median(unit)), list[Pair]()
    before = model.distance(pose.ravel())
    while moves:
        tried = [_exchange(pose, move) for move in moves]
        after = [model.distance(other.ravel()) for other in tried]
        best = int(np.argmin(after))
        fits = (model.point_distances(tried[best]) / unit)[list(chain.from_iterable(moves[best]))]
        if (before - after[best]) / scale <= _SWAP_GAIN or not (fits < _SWAP_FIT).all():
            break
        swapped += moves[best]
        pose, before = tried[best], after[best]
        moves = [[pair] for pair in usable if pair not in swapped]
    return swapped, pose


def _exchange(pose: np.ndarray, pairs: Sequence[Pair]) -> np.ndarray:
    other = pose.copy()
    for a, b in pairs:
        other[[a, b]] = pose[[b, a]]
    return other


def _outliers(model: PoseModel, pose: np.ndarray, unit: np.ndarray) -> dict[int, float]:
    """Return the distance of each outlier, the greatest first; each is removed before the rest are judged."""
    outliers: dict[int, float] = {}
    pose = pose.copy()
    for _ in range(max(1, int(np.isfinite(pose[:, 0]).sum()) // 3)):
        distances = model.point_distances(pose) / unit
        if not np.isfinite(distances).any() or np.nanmax(distances) <= _OUTLIER:
            break
        worst = int(np.nanargmax(distances))
        outliers[worst] = float(distances[worst])
        pose[worst] = np.nan
    return outliers
