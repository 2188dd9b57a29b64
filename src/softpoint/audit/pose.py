"""Labels that do not fit the poses of all others: left and right exchanged, and points far from where they belong.

Every subject is judged by a model of poses that has not seen it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from softpoint.audit.pose_model import PoseModel
from softpoint.audit.report import Example, Finding, found
from softpoint.labels.schema import Labels

_LEAST = 30  # subjects to learn poses from, and three for each keypoint
_MOST = 1000  # subjects that a model is fitted to
_FOLDS, _FEW_FOLDS = 5, 2  # for small sets, and where half of the subjects are enough
_ABSURD = 1e6  # pixels; no image is so large

# Squared distance, in units in which half of all labeled points lie within 1.39 (a Gaussian's median). Measured: no
# subject of three sets passes it, and 14 of 525 of a fourth; of points moved by a quarter of their subject's size,
# 16 of 24 do with 4 keypoints, and 125 of 132 with 12 or more.
_STRANGE = 60.0
# How much nearer to the model a subject must come by exchanging a pair, and how near the pair must then be. Measured
# with every tenth or fiftieth subject exchanged: 137 of 150 are found, and 2 of 2,300 others flagged,
# not counting one that is a mistake in published labels indeed.
_SWAP_GAIN, _SWAP_FIT = 10.0, 20.0


def look_at_poses(labels: Labels) -> list[Finding]:
    """Findings about poses; none where there are too few subjects to know what is usual."""
    kinds = list(labels.categories) or [""]
    swaps: list[Example] = []
    strange: list[tuple[float, Example]] = []
    for kind in kinds:
        rows = [i for i, subject in enumerate(labels.subjects) if not labels.categories or subject.category == kind]
        for i, exchanged, odd in _judge(labels, rows):
            swaps += _swap_example(labels, i, exchanged)
            strange += _strange_example(labels, i, odd)
    strange.sort(key=lambda pair: -pair[0])
    return [
        *found(
            "swap",
            "warning",
            "subjects that look as if left and right were exchanged: {n}",
            swaps,
            "look at findings.png and exchange the labels; mirrored views may be right as they are",
        ),
        *found(
            "strange",
            "warning",
            "subjects with points far from where their other points put them: {n}",
            [example for _, example in strange],
            "look at findings.png; correct them, or leave them where the pose is rare",
        ),
    ]


def _swap_example(labels: Labels, index: int, pairs: Sequence[tuple[int, int]]) -> list[Example]:
    if not pairs:
        return []
    names = labels.skeleton.names
    value = ", ".join(f"{names[a]} and {names[b]}" for a, b in pairs)
    return [Example(labels.images[index], labels.places[index], value, index, tuple(chain.from_iterable(pairs)))]


def _strange_example(labels: Labels, index: int, odd: dict[int, float]) -> list[tuple[float, Example]]:
    if not odd:
        return []
    names = ", ".join(labels.skeleton.names[k] for k in odd)
    example = Example(labels.images[index], labels.places[index], names, index, tuple(odd))
    return [(max(odd.values()), example)]


Verdict = tuple[int, list[tuple[int, int]], dict[int, float]]


def _judge(labels: Labels, rows: Sequence[int]) -> list[Verdict]:
    """Index, exchanged pairs and strange points of each subject in `rows` that has any."""
    points = _normalized(labels, rows)
    known = np.isfinite(points[..., 0])
    kept = np.flatnonzero(known.sum(axis=0) >= _LEAST / 3)  # a keypoint seen more rarely has no usual place
    enough = known[:, kept].sum(axis=1) >= 2
    used, poses = np.asarray(rows)[enough], points[enough][:, kept]
    if len(used) < max(_LEAST, 3 * len(kept)):
        return []
    folds = _FOLDS if len(used) < 2 * _MOST else _FEW_FOLDS
    fold = np.arange(len(used)) % folds
    models = [PoseModel(_some(poses[fold != f])) for f in range(folds)]
    unit = _units(np.array([models[f].strangeness(pose) for f, pose in zip(fold, poses, strict=True)]))
    position = {int(k): at for at, k in enumerate(kept)}
    pairs = [tuple(map(labels.skeleton.index, pair)) for pair in labels.skeleton.flip_pairs]
    inside = [(position[a], position[b]) for a, b in pairs if a in position and b in position]
    verdicts = []
    for row, f, pose in zip(used, fold, poses, strict=True):
        exchanged, pose = _exchanged(models[f], pose, inside, unit)
        odd = _odd(models[f], pose, unit)
        if exchanged or odd:
            ours = [(int(kept[a]), int(kept[b])) for a, b in exchanged]
            verdicts.append((int(row), ours, {int(kept[k]): value for k, value in odd.items()}))
    return verdicts


def _units(strangeness: np.ndarray) -> np.ndarray:
    """For each column (N, K) what makes its median that of a Gaussian's squared distance in the plane, 2 ln 2."""
    medians = [np.median(column[np.isfinite(column)]) if np.isfinite(column).any() else 0 for column in strangeness.T]
    return np.array([median / (2 * np.log(2)) if median > 0 else 1.0 for median in medians])


def _some(poses: np.ndarray) -> np.ndarray:
    return poses[np.unique(np.linspace(0, len(poses) - 1, _MOST).astype(int))] if len(poses) > _MOST else poses


def _normalized(labels: Labels, rows: Sequence[int]) -> np.ndarray:
    """Points (N, K, 2) relative to their box where every subject has one, else in pixels; NaN for absurd ones."""
    points, boxes = labels.keypoints[list(rows)], labels.boxes[list(rows)]
    points = np.where((np.abs(points) < _ABSURD).all(axis=2, keepdims=True), points, np.nan)
    extent = np.linalg.norm(boxes[:, 2:] - boxes[:, :2], axis=1)
    if not (extent > 0).all():
        return points
    return (points - (boxes[:, None, :2] + boxes[:, None, 2:]) / 2) / extent[:, None, None]


def _exchanged(
    model: PoseModel, pose: np.ndarray, pairs: Sequence[tuple[int, int]], unit: np.ndarray
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """The pairs whose exchange makes the pose much likelier, and the pose so mended.

    They are exchanged one after the other, the most telling first, or all at once.
    """
    usable = [pair for pair in pairs if np.isfinite(pose[list(pair)]).all()]
    moves = [[pair] for pair in usable] + ([usable] if len(usable) > 1 else [])
    scale, mended = float(np.median(unit)), list[tuple[int, int]]()
    before = model.distance(pose.ravel())
    while moves:
        tried = [_exchange(pose, move) for move in moves]
        after = [model.distance(other.ravel()) for other in tried]
        best = int(np.argmin(after))
        fits = (model.strangeness(tried[best]) / unit)[list(chain.from_iterable(moves[best]))]
        if (before - after[best]) / scale <= _SWAP_GAIN or not (fits < _SWAP_FIT).all():
            break
        mended += moves[best]
        pose, before = tried[best], after[best]
        moves = [[pair] for pair in usable if pair not in mended]
    return mended, pose


def _exchange(pose: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    other = pose.copy()
    for a, b in pairs:
        other[[a, b]] = pose[[b, a]]
    return other


def _odd(model: PoseModel, pose: np.ndarray, unit: np.ndarray) -> dict[int, float]:
    """Strange points, the strangest first; each is left out before the others are judged without it."""
    odd: dict[int, float] = {}
    pose = pose.copy()
    for _ in range(max(1, int(np.isfinite(pose[:, 0]).sum()) // 3)):
        strange = model.strangeness(pose) / unit
        if not np.isfinite(strange).any() or np.nanmax(strange) <= _STRANGE:
            break
        worst = int(np.nanargmax(strange))
        odd[worst] = float(strange[worst])
        pose[worst] = np.nan
    return odd
