"""Functions of points against hand numbers and a loop."""

from __future__ import annotations

import math

import numpy as np
import pytest

from softpoint.metrics import COLUMNS, PointArrays
from softpoint.metrics import functional as F

NAN = float("nan")


def points(keypoints: list, truth: list, scale: list, boxes: list | None = None) -> PointArrays:
    predicted = np.array(keypoints, float)
    N, K = predicted.shape[:2]
    covariance = np.broadcast_to(np.eye(2), (N, K, 2, 2))
    size = np.array([[30, 40]] * N)
    box = None if boxes is None else np.array(boxes, float)
    return PointArrays(predicted, np.array(truth, float), np.full((N, K), 0.5), covariance, np.array(scale), size, box)


HAND = points(
    [[[0, 0], [10, 10]], [[5, 5], [1, 1]]], [[[3, 4], [10, 20]], [[NAN, NAN], [1, 1]]], [50.0, 10.0],
    boxes=[[0, 0, 10, 40], [NAN] * 4],
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("epe", [[5, 10], [NAN, 0]]),
        ("nme", [[0.1, 0.2], [NAN, 0]]),
        ("pck@0.1", [[1, 0], [NAN, 1]]),
        ("pck@5px", [[1, 0], [NAN, 1]]),
        ("auc", [[0.5, 0], [NAN, 1]]),
        ("nme_box", [[0.25, 0.5], [NAN, NAN]]),  # the second subject's labels are a single point
        ("nme_diagonal", [[0.1, 0.2], [NAN, 0]]),
        ("coverage_50", [[0, 0], [NAN, 1]]),
    ],
)
def test_values_by_hand(name: str, expected: list) -> None:
    np.testing.assert_allclose(COLUMNS[name].values(HAND), expected)


def test_a_pair_normalizes_by_its_labeled_distance() -> None:
    np.testing.assert_allclose(F.nme_pair(HAND, 0, 1), np.array([[5, 10], [NAN, NAN]]) / math.hypot(7, 16))


@pytest.mark.parametrize("bad", [0.0, -2.5, NAN, math.inf])
def test_an_unusable_scale_gives_nan_and_never_a_number(bad: float) -> None:
    changed = HAND._replace(scale=np.array([bad, 10.0]))
    for name in ("nme", "pck@0.1", "auc"):
        values = COLUMNS[name].values(changed)
        assert np.isnan(values[0]).all() and values[1, 1] == COLUMNS[name].values(HAND)[1, 1]


def test_a_prediction_that_is_nan_is_a_miss_and_an_error_of_nan() -> None:
    changed = HAND._replace(keypoints=np.full_like(HAND.keypoints, NAN))
    assert np.isnan(F.errors(changed)).all()
    np.testing.assert_array_equal(F.pck(changed, 0.1), [[0, 0], [NAN, 0]])


def test_the_limit_counts_as_correct() -> None:
    on_limit = points([[[0, 0]]], [[[5, 0]]], [50.0])
    assert F.pck(on_limit, 0.1).tolist() == [[1]] and F.pck_pixels(on_limit, 5).tolist() == [[1]]
    assert F.pck(on_limit._replace(scale=np.array([49.9])), 0.1).tolist() == [[0]]


def test_the_squared_mahalanobis_distance_is_that_of_the_inverse() -> None:
    rng = np.random.default_rng(0)
    factor, error = rng.normal(size=(9, 2, 2)), rng.normal(size=(9, 2))
    covariance = factor @ factor.swapaxes(-1, -2) + 0.1 * np.eye(2)
    expected = np.einsum("ni,nij,nj->n", error, np.linalg.inv(covariance), error)
    np.testing.assert_allclose(F.squared_mahalanobis(error, covariance), expected)
