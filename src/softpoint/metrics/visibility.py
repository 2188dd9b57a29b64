"""Scores of predicted visibility (absent, occluded, visible), where nearly all keypoints are visible.

Plain accuracy is high for the constant prediction "visible". These scores are not: a mean of recalls, and areas under
curves (ROC and precision-recall) within each keypoint, so that a constant prediction per keypoint is at chance.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from softpoint.metrics.functional import Points
from softpoint.metrics.ranks import highest_ranks, mean_ranks

NAMES = ("balanced_accuracy", "absent_auroc", "absent_ap", "occluded_auroc", "occluded_ap")


def visibility_score(points: Points, fraction: float, name: str) -> float:
    """One of the scores `NAMES` of a whole set; NaN where it cannot be measured. `fraction` has no part."""
    if points.predicted_visibility is None or points.visibility is None:
        return float("nan")
    return score(points.predicted_visibility, known_states(points.visibility, points.truth, points.size), name)


def known_states(visibility: np.ndarray, truth: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return the true states (N, K): 0 absent, 1 occluded, 2 visible; -1 for an unlabeled point.

    A labeled point outside its image of `size` (N, 2), height and width, is absent there, as in training.

    >>> known_states(np.array([[2, 1, 0, -1]]), np.array([[[3, 3], [-4, 3], [9, 9], [9, 9]]]), np.array([[8, 8]]))
    array([[ 2,  0, -1,  0]])
    """
    with np.errstate(invalid="ignore"):
        inside = ((truth >= -0.5) & (truth <= size[:, None, ::-1] - 0.5)).all(-1)
    states: np.ndarray = np.where((visibility < 0) | ((visibility > 0) & ~inside), 0, visibility)
    return np.where(visibility == 0, -1, states)


def score(probability: np.ndarray, states: np.ndarray, name: str) -> float:
    """Return one of the scores `NAMES` in [0, 1]; NaN where it cannot be measured.

    `balanced_accuracy`: mean recall of the states that occur. `absent_auroc` and `absent_ap`: absent against present.
    `occluded_auroc` and `occluded_ap`: occluded against visible, over the points that are present. The last four are
    means over the keypoints that occur in both ways. Chance is 0.5 for an AUROC, the share of the rarer state for an AP
    (average precision).

    Args:
        probability: (N, K, 3) of absent, occluded and visible; points of which one is NaN are left out.
        states: (N, K) that are true, 0, 1 or 2; -1 is left out.
    """
    states = np.where(np.isfinite(probability).all(-1), states, -1)
    kind, _, measure = name.partition("_")
    if kind == "balanced":
        return _balanced_accuracy(probability, states)
    absent, occluded, visible = np.moveaxis(probability, -1, 0)
    values = absent if kind == "absent" else occluded / np.maximum(occluded + visible, 1e-300)
    positive, kept = (states == 0, states >= 0) if kind == "absent" else (states == 1, states > 0)
    columns = [(values[rows, k], positive[rows, k]) for k, rows in enumerate(kept.T)]
    areas = [_AREAS[measure](*column) for column in columns if 0 < column[1].sum() < len(column[1])]
    return float(np.mean(areas)) if areas else float("nan")


def _balanced_accuracy(probability: np.ndarray, states: np.ndarray) -> float:
    """Mean recall of the states that occur; NaN for fewer than two."""
    known = states >= 0
    right, true = probability[known].argmax(-1) == states[known], states[known]
    recalls = [right[true == state].mean() for state in np.unique(true)]
    return float(np.mean(recalls)) if len(recalls) > 1 else float("nan")


def _auroc(values: np.ndarray, positive: np.ndarray) -> float:
    """The fraction of pairs in which the positive has the larger value, equal ones counting half."""
    count = positive.sum()
    above = mean_ranks(values)[positive].sum() - count * (count + 1) / 2
    return float(above / (count * (len(values) - count)))


def _average_precision(values: np.ndarray, positive: np.ndarray) -> float:
    """Mean over the positives of the share of positives among the values that are at least as large."""
    above = highest_ranks(-values)[positive]
    return float((highest_ranks(-values[positive]) / above).mean())


_AREAS = {"auroc": _auroc, "ap": _average_precision}


def visibility_scores(logits: Float[Tensor, "B K 3"], target: Integer[Tensor, "B K"]) -> dict[str, Tensor]:
    """Every `score` that can be measured, of the logits of (absent, occluded, visible) against 0, 1 or 2, or -1.

    >>> logits = torch.tensor([[[2.0, 0, 0]], [[0.0, 3, 0]], [[0.0, 0, 4]], [[0.0, 5, 0]]])
    >>> scores = visibility_scores(logits, torch.tensor([[0], [1], [2], [2]]))
    >>> {name: round(score.item(), 3) for name, score in scores.items()}
    {'balanced_accuracy': 0.833, 'absent_auroc': 1.0, 'absent_ap': 1.0, 'occluded_auroc': 0.5, 'occluded_ap': 0.5}
    """
    probability, states = logits.double().softmax(-1).cpu().numpy(), target.cpu().numpy()
    scores = {name: score(probability, states, name) for name in NAMES}
    return {name: torch.tensor(value, device=logits.device) for name, value in scores.items() if np.isfinite(value)}
