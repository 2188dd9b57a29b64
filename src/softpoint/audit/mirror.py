"""Flip pairs from geometry, for keypoints whose names show no left and right.

A mirror that exchanges the right pairs keeps every mean distance between two keypoints, and turns every triangle of
three keypoints the other way round.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from itertools import combinations, islice

import numpy as np

from softpoint.audit.pose import normalized_points
from softpoint.audit.report import Example, Finding
from softpoint.labels.partition import evenly_spaced
from softpoint.labels.schema import Labels
from softpoint.suggest import quoted_name

_MIN_SUBJECTS, _MAX_SUBJECTS = 30, 200
_MAX_KEYPOINTS = 60  # every three of them are compared
_MAX_STEPS, _MAX_CHOICES = 20_000, 200  # of the search; reached where nearly all distances are alike
_TOLERANCE = 0.3  # of a distance, relative to the mirrored one

# Share of the orientation of triangles that does not turn with the mirror: 0 for the right pairs, 1 for no pairs.
# Measured without the names: 0.04 for the ears of mice from above, 0.002 for a doll, and the next best pairs at least
# 0.16; 0.5 or more for asymmetric sets (wings, tongues, mice from one side). Two pairings of the corners of a card are
# equally right, and nothing is proposed.
_CLEAR, _NEXT = 0.075, 0.05


def pair_findings(labels: Labels) -> list[Finding]:
    """Return a finding that proposes flip pairs, where the labels have none and geometry shows exactly one choice."""
    pairs = [] if labels.skeleton.flip_pairs else mirror_pairs(normalized_points(labels, range(len(labels))))
    if not pairs:
        return []
    named = [(labels.skeleton.names[a], labels.skeleton.names[b]) for a, b in pairs]
    message = f"keypoints that mirror each other, though their names show no left and right: {len(pairs)} pairs"
    setting = ",".join(f"[{quoted_name(a)},{quoted_name(b)}]" for a, b in named)
    advice = f"if these are left and right, set {shlex.quote(f'data.flip_pairs=[{setting}]')}, in either order"
    return [
        Finding("flip_pairs", "info", message, [Example("", "", f"{a} and {b}") for a, b in named], advice, len(pairs))
    ]


def why_mirrored(labels: Labels) -> str:
    """Return why a mirrored image is one that the labels could hold, in words; "" where nothing shows it.

    Either its poses are symmetric: the mirror, which exchanges the flip pairs, turns every triangle of keypoints the
    other way round. Or they are seen from both sides: right points are left of left ones in at least a tenth of them.
    """
    skeleton = labels.skeleton
    if not skeleton.can_mirror:
        return ""
    points = normalized_points(labels, range(len(labels)))
    pairs = [(skeleton.index(left), skeleton.index(right)) for left, right in skeleton.flip_pairs]
    kept, poses = _usable(points)
    partner = _partners(kept.tolist(), pairs)
    if partner is not None:
        triangles = np.array(list(combinations(range(len(kept)), 3)))
        if _unturned_share(partner, _turns(poses), triangles) <= _CLEAR:
            return "their poses are symmetric"
    sides = np.array([points[:, right, 0] - points[:, left, 0] for left, right in pairs])
    known = np.isfinite(sides).any(0)
    to_the_right = np.nanmean(sides[:, known], axis=0) > 0
    return "both sides are seen" if known.sum() >= _MIN_SUBJECTS and 0.1 <= to_the_right.mean() <= 0.9 else ""


def _partners(kept: Sequence[int], pairs: Sequence[tuple[int, int]]) -> np.ndarray | None:
    """Return the place of the partner of each kept keypoint, its own without one.

    None where a partner is not kept, and for three keypoints, whose one triangle turns round in any case.
    """
    other = {index: index for index in kept} | {a: b for pair in pairs for a, b in (pair, pair[::-1]) if a in kept}
    places = {index: place for place, index in enumerate(kept)}
    if len(kept) < 4 or any(other[index] not in places for index in kept):
        return None
    return np.array([places[other[index]] for index in kept])


def mirror_pairs(points: np.ndarray) -> list[tuple[int, int]]:
    """Return the pairs of K keypoints that a mirror exchanges, from poses `points` (N, K, 2), NaN where missing.

    Return none where there are too few poses, and where no choice or more than one explains them.
    """
    kept, poses = _usable(points)
    choices = list(islice(_isometries(_mean_distances(poses)), _MAX_CHOICES)) if len(kept) else []
    if not 0 < len(choices) < _MAX_CHOICES:
        return []
    turns, triangles = _turns(poses), np.array(list(combinations(range(len(kept)), 3)))
    ranked = sorted((_unturned_share(partner, turns, triangles), partner.tolist()) for partner in choices)
    best, partner = ranked[0]
    if best > _CLEAR or (len(ranked) > 1 and ranked[1][0] < 2 * best + _NEXT):
        return []
    return [(int(kept[i]), int(kept[j])) for i, j in enumerate(partner) if i < j]


def _usable(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the keypoints that are labeled often enough, and some poses of these (N, K, 2), of unit spread.

    Return no keypoint where there are too few or too many, or where two are hardly ever labeled together.
    """
    labeled = np.isfinite(points).all(2)
    kept = np.flatnonzero(labeled.sum(0) >= _MIN_SUBJECTS)
    poses = points[labeled[:, kept].sum(1) >= 3][:, kept]
    poses = poses[evenly_spaced(len(poses), _MAX_SUBJECTS)]
    known = np.isfinite(poses[..., 0]).astype(int)
    together = (known.T @ known).min(initial=_MIN_SUBJECTS)
    if not 3 <= len(kept) <= _MAX_KEYPOINTS or together < _MIN_SUBJECTS / 3:
        return np.empty(0, int), poses
    spread = np.sqrt(np.nanvar(poses, axis=1).sum(1)).clip(1e-9)
    return kept, poses / spread[:, None, None]


def _mean_distances(poses: np.ndarray) -> np.ndarray:
    """Return the root mean squared distances (K, K) between the keypoints of poses (N, K, 2)."""
    return np.asarray(np.sqrt(np.nanmean(((poses[:, :, None] - poses[:, None]) ** 2).sum(-1), 0)))


def _turns(poses: np.ndarray) -> np.ndarray:
    """Return mean by standard deviation, (K, K, K) and at most 3, of the signed area of each triangle of keypoints."""
    total, square, count = np.zeros((3, *[poses.shape[1]] * 3))
    for x, y in poses.transpose(0, 2, 1):
        cross = np.outer(x, y) - np.outer(y, x)
        area = cross[:, :, None] + cross + cross.T[:, None]
        known = np.isfinite(area)
        area[~known] = 0
        total, square, count = total + area, square + area**2, count + known
    mean = total / count.clip(1)
    deviation = np.sqrt((square / count.clip(1) - mean**2).clip(1e-12))
    return np.asarray((mean / deviation).clip(-3, 3))


def _unturned_share(partner: np.ndarray, turns: np.ndarray, triangles: np.ndarray) -> float:
    """Return the share of the orientation that an exchange leaves as it was: 0 where every triangle turns round.

    A triangle that two of its own corners are exchanged in turns round by that alone, and says nothing.
    """
    images = partner[triangles]
    is_own_image = (np.sort(images, 1) == triangles).all(1)
    is_fixed = (images == triangles).all(1)
    compared = ~is_own_image | is_fixed
    before, after = (turns[tuple(corners[compared].T)] for corners in (triangles, images))
    return float(((before + after) ** 2).sum() / max(4 * (before**2).sum(), 1e-9))


def _isometries(distances: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the exchanges of pairs, as the partner (K,) of each keypoint, that keep all distances (K, K) nearly.

    Keypoints get their partners in order, each itself or a later one, if the distances to all decided ones fit.
    """
    partner = np.full(len(distances), -1)
    steps = iter(range(_MAX_STEPS))

    def fits(one: int, other: int) -> bool:
        decided = np.flatnonzero(partner >= 0)
        ours = np.concatenate([distances[one, decided], distances[other, decided]])
        theirs = np.concatenate([distances[other, partner[decided]], distances[one, partner[decided]]])
        return bool((np.abs(ours - theirs) <= _TOLERANCE * (ours + theirs) / 2).all())

    def extend() -> Iterator[np.ndarray]:
        undecided = np.flatnonzero(partner < 0).tolist()
        if not undecided:
            yield partner.copy()
            return
        one = undecided[0]
        for other in undecided:
            if next(steps, None) is not None and fits(one, other):
                partner[one], partner[other] = other, one
                yield from extend()
                partner[one] = partner[other] = -1

    yield from extend()
