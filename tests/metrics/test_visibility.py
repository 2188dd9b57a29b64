"""Scores of visibility: what they say in closed form, and that they are one however the points are split."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor

from softpoint.metrics import PointArrays, visibility_scores
from softpoint.metrics.epoch_visibility import VisibilityScores
from softpoint.metrics.visibility import NAMES, visibility_score

K = 3


def batch(B: int = 40) -> tuple[Tensor, Tensor]:
    """Logits that know a little, and true states of which some are unknown; the last keypoint is always visible."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(-1, 3, (B, K), generator=generator)
    target[:, -1] = 2
    told = torch.nn.functional.one_hot(target.clamp_min(0), 3) + torch.randn(B, K, 3, generator=generator)
    return told, target


def area(score: np.ndarray, positive: np.ndarray) -> float:
    """Fraction of pairs in which the positive ranks above the negative, ties counting half."""
    pairs = itertools.product(score[positive], score[~positive])
    return float(np.mean([(a > b) + (a == b) / 2 for a, b in pairs]))


def precision(score: np.ndarray, positive: np.ndarray) -> float:
    """Mean over the positives of the share of positives among what ranks as high."""
    return float(np.mean([positive[score >= s].mean() for s in score[positive]]))


def by_hand(logits: Tensor, target: Tensor) -> dict[str, float]:
    p, truth = logits.double().softmax(-1).numpy(), target.numpy()
    scores: dict[str, list[float]] = {}
    for k in range(K):
        known, here = truth[:, k] >= 0, truth[:, k] > 0
        for name, kept, score, state in (
            ("absent", known, p[:, k, 0], 0),
            ("occluded", here, p[:, k, 1] / (p[:, k, 1] + p[:, k, 2]), 1),
        ):
            positive = truth[kept, k] == state
            if positive.any() and not positive.all():
                scores.setdefault(f"{name}_auroc", []).append(area(score[kept], positive))
                scores.setdefault(f"{name}_ap", []).append(precision(score[kept], positive))
    recalls = [(p.argmax(-1)[truth == state] == state).mean() for state in range(3)]
    return {"balanced_accuracy": float(np.mean(recalls)), **{name: float(np.mean(v)) for name, v in scores.items()}}


def test_scores_are_those_counted_pair_by_pair() -> None:
    result = visibility_scores(*batch())
    assert {name: score.item() for name, score in result.items()} == pytest.approx(by_hand(*batch()), abs=1e-5)


@pytest.mark.parametrize("answer", [0, 1, 2])
def test_a_constant_prediction_is_at_chance(answer: int) -> None:
    target = batch()[1]
    constant = torch.nn.functional.one_hot(torch.full_like(target, answer), 3) * 5.0
    scores = visibility_scores(constant, target)
    assert scores["balanced_accuracy"].item() == pytest.approx(1 / 3)
    assert scores["absent_auroc"].item() == scores["occluded_auroc"].item() == 0.5


def test_a_constant_ranking_per_keypoint_is_at_chance() -> None:
    # The first keypoint is mostly occluded, the second mostly visible, and the answer tells no more than that.
    target = torch.tensor([[1, 2], [1, 2], [1, 2], [2, 1]])
    logits = torch.tensor([[0.0, 3, 0], [0.0, 0, 3]]).expand(4, 2, 3)
    scores = visibility_scores(logits, target)
    assert scores["balanced_accuracy"].item() == 0.75 and scores["occluded_auroc"].item() == 0.5


@pytest.mark.parametrize(
    ("states", "names"),
    [
        ([2, 2, -1], set()),
        ([-1, -1, -1], set()),
        ([2, 1, -1], {"balanced_accuracy", "occluded_auroc", "occluded_ap"}),
        ([0, 2, -1], {"balanced_accuracy", "absent_auroc", "absent_ap"}),
        ([0, 1, -1], {"balanced_accuracy", "absent_auroc", "absent_ap"}),
        ([0, 1, 2], {"balanced_accuracy", "absent_auroc", "absent_ap", "occluded_auroc", "occluded_ap"}),
    ],
)
def test_what_does_not_occur_is_not_scored(states: list[int], names: set[str]) -> None:
    scores = visibility_scores(torch.randn(3, 1, 3), torch.tensor(states)[:, None])
    assert set(scores) == names
    assert all(0 <= score <= 1 for score in scores.values())


def test_a_set_in_original_pixels_has_the_scores_of_its_logits() -> None:
    logits, target = batch()
    target[:, 0] = target[:, 0].where(target[:, 0] != 0, 1)
    inside, states = np.full((40, K, 2), 4.0), target.numpy()
    truth = np.where((states == 0)[..., None], [30.0, 4.0], inside)  # labeled beyond the image of 20 x 10: absent there
    labels = np.where(states == 0, 2, np.where(states < 0, 0, states))
    labels[0, 1], states[0, 1] = -1, 0  # labeled as absent
    unused = [np.ones(40)] * 3
    points = PointArrays(inside, truth, *unused, np.full((40, 2), [10, 20]), None, labels, logits.softmax(-1).numpy())
    result = {name: visibility_score(points, 0.0, name) for name in NAMES}
    expected = {name: value.item() for name, value in visibility_scores(logits, torch.from_numpy(states)).items()}
    assert result == pytest.approx(expected, abs=1e-6)
    assert all(np.isnan(visibility_score(points._replace(predicted_visibility=None), 0.0, name)) for name in NAMES)


def test_the_unknown_may_hold_anything() -> None:
    logits, target = batch()
    scores = visibility_scores(logits.where((target >= 0)[..., None], torch.nan), target)
    torch.testing.assert_close(scores, visibility_scores(logits, target), rtol=0, atol=0)


@pytest.mark.parametrize("sizes", [(40,), (1, 9, 0, 30), (1,) * 40])
def test_split_batches_equal_the_whole(sizes: tuple[int, ...]) -> None:
    metric = VisibilityScores(K)
    for part in zip(*(x.split(list(sizes)) for x in batch()), strict=True):
        metric.update(*part)
    torch.testing.assert_close(metric.compute(), visibility_scores(*batch()), rtol=0, atol=0)
    copy = pickle.loads(pickle.dumps(metric))
    torch.testing.assert_close(copy.compute(), metric.compute(), rtol=0, atol=0)
    metric.reset()
    assert metric.compute() == {}


def test_half_precision_and_gradients_do_not_stay() -> None:
    metric, (logits, target) = VisibilityScores(K), batch()
    metric.update(logits.bfloat16().requires_grad_(), target)
    torch.testing.assert_close(metric.compute(), visibility_scores(logits.bfloat16(), target), rtol=0, atol=0)
    assert metric.points[0].dtype == torch.float32 and not metric.points[0].requires_grad


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="batch has 3 keypoints but VisibilityScores was built for 4"):
        VisibilityScores(4).update(*batch())
    with pytest.raises(ValueError, match="num_keypoints must be at least 1, got 0"):
        VisibilityScores(0)
