"""Smoothing is a weighted median about each frame, and touches nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from softpoint.inference.batch.predictions import Row, median_smoothed, weighted_median


def rows(points: np.ndarray, confidence: np.ndarray) -> Iterator[Row]:
    nothing = np.full(4, np.nan)
    for i, (xy, sure) in enumerate(zip(points, confidence, strict=True)):
        covariance = np.full((len(xy), 2, 2), float(i))
        yield Row(i, 0, True, i / 10, (9, 9), "", nothing, xy, sure, covariance, None)


def smooth(points: np.ndarray, confidence: np.ndarray, window: int) -> list[Row]:
    return list(median_smoothed(rows(points, confidence), window))


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 6, 20])
@pytest.mark.parametrize("window", [3, 5, 9])
def test_equal_confidences_give_the_plain_median(length: int, window: int) -> None:
    points = np.random.default_rng(length).normal(size=(length, 3, 2))
    result = smooth(points, np.full((length, 3), 0.7), window)
    assert [row.number for row in result] == list(range(length))
    for i, row in enumerate(result):
        side = min(window // 2, i, length - 1 - i)
        np.testing.assert_allclose(row.keypoints, np.median(points[i - side : i + side + 1], axis=0))
        assert (row.covariance == i).all() and (row.confidence == 0.7).all()


def test_weights_count_as_copies() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        values, weights = rng.normal(size=5), rng.integers(0, 4, 5)
        if weights.sum():
            expected = np.median(np.repeat(values, weights))
            assert weighted_median(values, weights.astype(float)) == pytest.approx(expected)


def test_an_outlier_of_low_confidence_is_smoothed_and_a_confident_jump_is_not() -> None:
    points, confidence = np.zeros((11, 1, 2)), np.full((11, 1), 0.9)
    points[4], confidence[4] = 80.0, 0.05
    points[8:] = 30.0
    result = np.array([row.keypoints[0] for row in smooth(points, confidence, 5)])
    np.testing.assert_array_equal(result[:8], 0.0)
    np.testing.assert_array_equal(result[8:], 30.0)


def test_damaged_frames_stay_empty_and_have_no_weight() -> None:
    points = np.arange(8.0)[:, None, None] * np.ones((1, 2, 2))
    confidence = np.full((8, 2), 0.5)
    points[3], confidence[3] = np.nan, np.nan
    result = smooth(points, confidence, 3)
    assert np.isnan(result[3].keypoints).all()
    np.testing.assert_allclose(result[2].keypoints, 1.5)
    np.testing.assert_allclose(result[5].keypoints, 5.0)


def test_confidences_of_zero_give_nan() -> None:
    assert np.isnan(weighted_median(np.array([1.0, 2.0]), np.zeros(2)))
