"""Expected errors are the means of the calibrated distribution, and those of the better answer."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.selection import prediction
from softpoint.inference.expected_distance import expected_distance, with_expected_error
from softpoint.layers.calibration import TAIL
from softpoint.selection.expected_error import LOST, expected_errors
from softpoint.viz import confidence_parts


def test_the_mean_length_is_that_of_drawn_errors() -> None:
    rng = np.random.default_rng(0)
    shape = np.array([[9.0, 2.0], [2.0, 1.0]])
    unit = shape / np.sqrt(np.linalg.det(shape))
    errors = rng.normal(size=(400_000, 2)) @ np.linalg.cholesky(unit).T
    heavy = errors / np.sqrt(rng.chisquare(TAIL, 400_000) / TAIL)[:, None]
    assert expected_distance(np.array(4.0), shape) == pytest.approx(4 * np.linalg.norm(heavy, axis=1).mean(), rel=0.01)


def test_it_grows_with_the_scale_and_does_not_depend_on_size_or_turn_of_the_covariance() -> None:
    shape, quarter = np.array([[9.0, 2.0], [2.0, 1.0]]), np.array([[0.0, -1.0], [1.0, 0.0]])
    once = expected_distance(np.array(1.0), shape)
    assert expected_distance(np.array(3.0), 7 * quarter @ shape @ quarter.T) == pytest.approx(3 * once)
    assert expected_distance(np.array(1.0), np.eye(2)) < once  # of one area, the circle is the shortest


def test_the_parts_of_a_confidence_state_the_expected_error_and_compare_it_with_the_radius() -> None:
    parts = {"in_image": 1.0, "within_radius": 0.4, "radius": 10.0, "spread": 5.0, "error_scale": 7.0}
    prediction = {name: np.array([value]) for name, value in parts.items()} | {"covariance": np.eye(2)[None]}
    (*_, causes, reason) = confidence_parts(with_expected_error(prediction), ["nose"])[1]
    assert causes == f"expected error {7 * 3**0.5:.1f} px, heatmap 5.0 px wide"
    assert reason == "the expected error exceeds the radius"


def test_a_point_costs_its_error_and_none_costs_nothing() -> None:
    points = np.zeros((4, 2))
    inside, scale = np.array([1.0, 0.0, 0.5, 1.0]), np.array([2.0, 2.0, 2.0, 1e4])
    errors = expected_errors(prediction(points, in_image=inside, error_scale=scale), fraction=0.05)
    lost = LOST * 5.0 / 0.05
    np.testing.assert_allclose(errors, [2 * np.sqrt(3), 0, lost / 2, lost], rtol=1e-6)


def test_it_is_a_length_of_the_image() -> None:
    shown = prediction(np.zeros((2, 2)))
    larger = shown | {"radius": shown["radius"] * 3, "error_scale": shown["error_scale"] * 3}
    np.testing.assert_allclose(expected_errors(larger, 0.05), 3 * expected_errors(shown, 0.05))
