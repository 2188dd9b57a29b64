"""Labels that are unlikely under predictions of models that did not learn them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy

from softpoint.evaluation.results import Results
from softpoint.layers.calibration import TAIL

KINDS = {
    "exchanged": "labels that fit much better under the names of each other",
    "shifted": "a label far from its prediction, measured by what the model states to know",
    "forgotten": "no label where the model is sure of the keypoint, and most subjects have one",
}
# Surprise from which on a label is listed: the list is a ranking, and ends where it has nothing more to say. Of the
# labels of one subject those follow that are at least half as surprising as the first.
LEAST = 1.0
# Surprise per label that an exchange saves, and the largest that it leaves.
_SAVED, _LEFT = 1.5, 3.0
# Added to variances, px^2: no error is known better than to a thousandth of a pixel, and no matrix is singular.
_ROUND = 1e-6
# Largest probability that a model may give itself of having recognized a keypoint: it bounds every surprise.
_SURE = 0.999
_RAREST = 1e9  # that is printed as a number: an exchange of many keypoints is beyond all floats


class Suspicion(NamedTuple):
    """A fault that the labels of one subject seem to have."""

    subject: int  # row of the results
    kind: str  # of `KINDS`
    keypoints: tuple[int, ...]  # concerned, the most unlikely first
    score: float  # surprise of the most unlikely one; of an exchange, the surprise that it would save


def suspicions(by_seed: Sequence[Results], fraction: float) -> list[Suspicion]:
    """Return what seems wrong with the labels of results, the most unlikely first; at most one per subject and kind.

    The surprise of a label is -log of the probability that a right one is as far from the prediction: the tail of the
    calibrated t-distribution, or 1 where the model did not recognize the keypoint. That of no label is -log of the
    share of subjects without a label of this keypoint, times the probability that the model is not within its radius of
    it. Several models predicted the same subjects: probabilities are their means. `fraction` is that of the subject's
    size which the confidences of the results are about; their covariances are squared scales of the t-distribution, as
    those of `Judged` are.
    """
    first = by_seed[0]
    rare = -np.log(((~first.labeled).sum(0) + 1) / (len(first) + 2))
    found = [one for row in range(len(first)) for one in _of_subject(by_seed, row, fraction, rare)]
    return sorted(found, key=lambda one: -one.score)


def surprises(by_seed: Sequence[Results], row: int, fraction: float) -> np.ndarray:
    """Return the surprise (K, K) of each label of a subject, were it that of each keypoint; NaN for no label."""
    return np.asarray(-np.log(np.mean([_probabilities(results, row, fraction) for results in by_seed], 0)))


def _probabilities(results: Results, row: int, fraction: float) -> np.ndarray:
    """Return the probability (K, K) by one model that a right label of each keypoint is as far as each label."""
    scale = results.covariance[row] + _ROUND * np.eye(2)
    offsets = results.truth[row][:, None] - results.keypoints[row][None]
    squared = np.einsum("ijx,jxy,ijy->ij", offsets, np.linalg.inv(scale), offsets)
    radius = fraction * results.scale[row]
    within = 1 - _tail(radius**2 / np.sqrt(np.linalg.det(scale)))
    recognized = (results.confidence[row] / within).clip(0, _SURE)
    return np.asarray(recognized * _tail(squared) + 1 - recognized)


def _tail(squared: np.ndarray) -> np.ndarray:
    """Return the mass of the t-distribution beyond a squared distance in units of its scale.

    >>> round(float(_tail(np.array(TAIL))), 4)
    0.3536
    """
    return np.asarray((1 + squared / TAIL) ** (-TAIL / 2))


def _of_subject(by_seed: Sequence[Results], row: int, fraction: float, rare: np.ndarray) -> list[Suspicion]:
    surprise = surprises(by_seed, row, fraction)
    labeled, absent = by_seed[0].labeled[row], by_seed[0].visibility[row] < 0  # which the labels state
    confidence = np.mean([results.confidence[row] for results in by_seed], 0)
    found = _exchanged(surprise, np.flatnonzero(labeled), row)
    moved = {keypoint for one in found for keypoint in one.keypoints}
    alone = np.where([k in moved for k in range(len(labeled))], 0.0, np.nan_to_num(np.diag(surprise)))
    missed = np.where(labeled | absent, 0.0, rare - np.log1p(-confidence.clip(0, _SURE)))
    for kind, scores in (("shifted", alone), ("forgotten", missed)):
        least = max(LEAST, float(scores.max()) / 2)
        order = [int(k) for k in np.argsort(-scores, kind="stable") if scores[k] > least]
        found += [Suspicion(row, kind, tuple(order), float(scores[order[0]]))] if order else []
    return found


def _exchanged(surprise: np.ndarray, labeled: np.ndarray, row: int) -> list[Suspicion]:
    """Return the exchange of names under which the labels of a subject are least surprising, if it saves much."""
    own = np.diag(surprise)
    if (own[labeled] > LEAST).sum() < 2:
        return []
    place = np.arange(len(surprise))
    rows, columns = scipy.optimize.linear_sum_assignment(surprise[np.ix_(labeled, labeled)])
    place[labeled[rows]] = labeled[columns]
    moved: list[int] = []
    saved = 0.0
    for cycle in _cycles(place):
        gain, after = float((own[cycle] - surprise[cycle, place[cycle]]).sum()), surprise[cycle, place[cycle]]
        if gain > _SAVED * len(cycle) and after.mean() < _LEFT:
            moved, saved = [*moved, *cycle], saved + gain
    return [Suspicion(row, "exchanged", tuple(moved), saved)] if moved else []


def _cycles(place: np.ndarray) -> list[list[int]]:
    """Return the cycles of a permutation, without the places that it leaves as they are.

    >>> _cycles(np.array([1, 0, 2, 4, 5, 3]))
    [[0, 1], [3, 4, 5]]
    """
    left, cycles = set(np.flatnonzero(place != np.arange(len(place))).tolist()), []
    while left:
        cycle = [min(left)]
        while (following := int(place[cycle[-1]])) != cycle[0]:
            cycle.append(following)
        left -= set(cycle)
        cycles.append(cycle)
    return cycles


def odds(score: float) -> str:
    """Return a score as the frequency of right labels that are as unlikely.

    >>> odds(3.0), odds(12.0), odds(800.0)
    ('1 in 20', '1 in 162755', 'less than 1 in 1000000000')
    """
    return f"less than 1 in {_RAREST:.0f}" if score > math.log(_RAREST) else f"1 in {math.exp(score):.0f}"
