"""The choice of images whose labels would take away most of the expected error of all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import pdist

from softpoint.selection.candidates import Candidate

_MAX_COMPARED = 500  # images, whose median distance is the unit


class Choice(NamedTuple):
    """A candidate, and its distance from the labeled and the earlier chosen ones; 1 is that of a usual pair."""

    candidate: Candidate
    distance: float


def choose(candidates: Sequence[Candidate], count: int, labeled: Sequence[Candidate] = ()) -> list[Choice]:
    """Return up to `count` candidates, each the one whose label takes away most of the expected error that is left.

    The error that is left of an image is its score times the distance of its features to the nearest image that is
    `labeled` or chosen, in units of the median distance between two candidates, at most 1. So an image counts by its
    own error and by those of the images that look like it: neither a usual image that the model knows nor an odd one
    is chosen first. Near duplicates of labeled and chosen images are left out.

    This is weighted facility location, whose gains only shrink while images are chosen: the greedy choice takes away at
    least 1 - 1/e of what the best one would (Nemhauser, Wolsey and Fisher, 1978).
    """
    if not candidates:
        return []
    features, covered = _standardized(candidates, labeled)
    unit, scores = _median_distance(features), np.array([one.score for one in candidates])
    distance = np.ones(len(features))
    for other in covered:
        distance = np.minimum(distance, _distances(features, other, unit))

    def gain(index: int) -> float:
        nearer = np.maximum(distance - _distances(features, features[index], unit), 0)
        return float(scores @ nearer)

    left = np.array([not any(one.near(other.print) for other in labeled) for one in candidates])
    bounds, choices = np.array([gain(i) if left[i] else 0.0 for i in range(len(features))]), list[Choice]()
    while left.any() and len(choices) < count:
        best = _largest(gain, bounds, left)
        choices.append(Choice(candidates[best], float(distance[best])))
        left &= np.array([not one.near(candidates[best].print) for one in candidates])
        distance = np.minimum(distance, _distances(features, features[best], unit))
    return choices


def _largest(gain: Callable[[int], float], bounds: np.ndarray, left: np.ndarray) -> int:
    """Return the index of the largest gain of those `left`, whose gains are at most `bounds`, which become tighter."""
    while True:
        best = int(np.argmax(np.where(left, bounds, -1.0)))
        if (value := gain(best)) >= bounds[best]:
            return best
        bounds[best] = value


def _standardized(candidates: Sequence[Candidate], labeled: Sequence[Candidate]) -> tuple[np.ndarray, np.ndarray]:
    """Return features (N, C) of mean 0 and deviation 1, and those of the labeled images (M, C) on the same scale."""
    features = np.stack([one.features for one in candidates]).astype(np.float64)
    mean, deviation = features.mean(0), features.std(0)
    deviation = np.where(deviation > 1e-9, deviation, 1.0)
    covered = np.array([one.features for one in labeled], dtype=np.float64).reshape(len(labeled), features.shape[1])
    return (features - mean) / deviation, (covered - mean) / deviation


def _median_distance(features: np.ndarray) -> float:
    pairs = pdist(features[:: -(-len(features) // _MAX_COMPARED)])
    return float(np.median(pairs)) or 1.0 if len(pairs) else 1.0


def _distances(features: np.ndarray, point: np.ndarray, unit: float) -> np.ndarray:
    return np.asarray(np.minimum(np.linalg.norm(features - point, axis=1) / unit, 1.0))
