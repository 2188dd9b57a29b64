"""Planted faults of labels are listed first, by kind and place, and right labels hardly ever."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from softpoint.evaluation import Results
from softpoint.labels.skeleton import Skeleton
from softpoint.layers.calibration import TAIL
from softpoint.selection.label_errors import LEAST, Suspicion, surprises, suspicions

K, SIZE, FRACTION = 6, 200.0, 0.05


def predicted(count: int = 200, seed: int = 0) -> Results:
    """Right labels of `count` subjects, whose errors follow the calibrated distribution of their predictions."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(20, 180, (count, K, 2))
    scale = rng.uniform(1, 4, (count, K))
    errors = rng.normal(size=(count, K, 2)) / np.sqrt(rng.chisquare(TAIL, (count, K, 1)) / TAIL)
    radius = FRACTION * SIZE
    within = 1 - (1 + radius**2 / scale**2 / TAIL) ** (-TAIL / 2)
    return Results(
        images=[f"video{i % 5}/img{i:03}.png" for i in range(count)],
        groups=[f"video{i % 5}" for i in range(count)],
        keypoints=truth + scale[..., None] * errors,
        truth=truth,
        visibility=np.full((count, K), 2),
        confidence=0.995 * within,
        covariance=scale[..., None, None] ** 2 * np.eye(2),
        scale=np.full(count, SIZE),
        boxes=None,
        size=np.full((count, 2), 200),
        skeleton=Skeleton(tuple("abcdef")),
    )


def planted(results: Results, row: int, points: np.ndarray) -> Results:
    truth = results.truth.copy()
    truth[row] = points
    visibility = np.where(np.isfinite(truth[..., 0]), 2, 0)
    return replace(results, truth=truth, visibility=visibility)


def first(results: Results, row: int) -> Suspicion:
    return next(one for one in suspicions([results], FRACTION) if one.subject == row)


def test_right_labels_are_as_surprising_as_they_should_be() -> None:
    results = predicted(1000)
    own = np.array([np.diag(surprises([results], row, FRACTION)) for row in range(len(results))]).ravel()
    assert (own > 3).mean() == pytest.approx(np.exp(-3), rel=0.2)


def test_a_surprise_is_the_tail_of_the_distribution() -> None:
    results = predicted(1)
    sigma = np.sqrt(results.covariance[0, 2, 0, 0])
    moved = planted(results, 0, results.keypoints[0] + [[5 * sigma, 0]] * K)
    expected = -np.log(0.995 * (1 + 25 / TAIL) ** (-TAIL / 2) + 0.005)
    assert np.diag(surprises([moved], 0, FRACTION))[2] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("order", "moved"),
    [((1, 0, 2, 3, 4, 5), {0, 1}), ((1, 2, 0, 3, 4, 5), {0, 1, 2}), ((1, 0, 3, 2, 4, 5), {0, 1, 2, 3})],
    ids=["two", "three in a circle", "two pairs"],
)
def test_exchanged_names_are_found_first(order: tuple[int, ...], moved: set[int]) -> None:
    results = predicted()
    apart = [row for row, points in enumerate(results.truth) if pdist(points).min() > 30]
    for row in apart[:3]:
        results = planted(results, row, results.truth[row, list(order)])
    found = suspicions([results], FRACTION)[:3]
    assert {one.subject for one in found} == {*apart[:3]}
    assert all(one.kind == "exchanged" and set(one.keypoints) == moved for one in found)


def test_a_shifted_point_is_not_an_exchange_even_upon_another_point() -> None:
    results, row = predicted(), 8
    results = replace(results, keypoints=results.truth.copy())
    points = results.truth[row].copy()
    points[4] = points[1] + 1.0
    one = first(planted(results, row, points), row)
    assert (one.kind, one.keypoints) == ("shifted", (4,))


def test_labels_of_another_image_and_of_a_mirror_are_found() -> None:
    results = predicted()
    mirrored = results.truth[30] * [-1, 1] + [200, 0]
    results = planted(planted(results, 30, mirrored), 60, results.truth[61])
    assert {one.subject for one in suspicions([results], FRACTION)[:2]} == {30, 60}


def test_a_forgotten_point_is_found_where_the_model_is_sure_or_others_have_it() -> None:
    results, row = predicted(), 5
    truth, confidence = results.truth.copy(), results.confidence.copy()
    truth[::2, 2], truth[row, 2:5] = np.nan, np.nan  # every other subject has no such point
    confidence[row, 2:5] = 0.1, 0.99, 0.1
    results = replace(
        results, truth=truth, visibility=np.where(np.isfinite(truth[..., 0]), 2, 0), confidence=confidence
    )
    one = next(one for one in suspicions([results], FRACTION) if one.subject == row and one.kind == "forgotten")
    assert one.keypoints == (3, 4) and one.score == pytest.approx(-np.log(0.01 * 2 / 202))
    absent = replace(results, visibility=np.where(results.visibility == 0, -1, results.visibility))
    assert not [one for one in suspicions([absent], FRACTION) if one.kind == "forgotten"]


def test_a_singular_covariance_is_no_failure() -> None:
    results = predicted(3)
    covariance = results.covariance.copy()
    covariance[1, 0], covariance[2, 1] = 0.0, 1.0
    assert np.isfinite(surprises([replace(results, covariance=covariance)], 1, FRACTION)).all()
    assert np.isfinite(surprises([replace(results, covariance=covariance)], 2, FRACTION)).all()


def test_an_unsure_prediction_accuses_no_label() -> None:
    results = predicted(20)
    confidence = results.confidence.copy()
    confidence[4] = 0.1
    far = planted(replace(results, confidence=confidence), 4, results.truth[4] + 80)
    assert np.diag(surprises([far], 4, FRACTION)).max() < LEAST


def test_one_of_three_models_that_is_lost_neither_accuses_nor_hides() -> None:
    results = predicted(40)
    lost = replace(results, keypoints=results.keypoints + 150.0)
    wrong = [planted(one, 9, one.truth[9] + [[70.0, 0.0], *[[0.0, 0.0]] * (K - 1)]) for one in (lost, results, results)]
    one = suspicions(wrong, FRACTION)[0]
    assert (one.subject, one.kind, one.keypoints) == (9, "shifted", (0,))
    for row in range(10, 40):  # a probability is at least two thirds of that of the two
        assert (surprises(wrong, row, FRACTION) <= surprises([results], row, FRACTION) + np.log(1.5) + 1e-9).all()
    np.testing.assert_allclose(surprises([results] * 2, 3, FRACTION), surprises([results], 3, FRACTION))
