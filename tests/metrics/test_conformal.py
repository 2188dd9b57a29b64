"""Conformal quantiles against their definition, and the coverage of regions on simulated groups."""

from __future__ import annotations

import numpy as np
import pytest

from softpoint.metrics.conformal import (
    conformal_quantile,
    joint_scores,
    mahalanobis,
    needed_units,
    region_radii,
    unit_shares,
)
from softpoint.runtime import ellipse_axes


def hierarchical(rng: np.random.Generator, units: int) -> tuple[np.ndarray, np.ndarray]:
    """Heavy-tailed scores of units of very different levels and sizes, and the unit of each."""
    unit = np.repeat(np.arange(units), rng.integers(1, 30, units))
    return np.abs(rng.standard_t(2, len(unit))) * np.exp(rng.normal(0, 0.8, units))[unit], unit


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
def test_needed_units_are_the_fewest_that_give_a_bounded_quantile(level: float) -> None:
    n = needed_units(level)
    assert np.isfinite(conformal_quantile(np.arange(n * 1.0), np.arange(n), level))
    assert not np.isfinite(conformal_quantile(np.arange(n - 1.0), np.arange(n - 1), level))


@pytest.mark.parametrize("n", [9, 10, 19, 37, 99])
def test_single_points_give_the_order_statistic_of_split_conformal(n: int) -> None:
    scores = np.random.default_rng(n).normal(size=n)
    assert conformal_quantile(scores, np.arange(n), 0.9) == np.sort(scores)[int(np.ceil(0.9 * (n + 1) - 1e-9)) - 1]


def test_copies_of_a_units_points_change_nothing() -> None:
    scores, unit = hierarchical(np.random.default_rng(0), 12)
    twice = np.tile(scores, 2), np.tile(unit, 2)
    assert conformal_quantile(scores, unit, 0.9) == conformal_quantile(*twice, 0.9)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_a_point_of_a_new_unit_is_inside_with_the_stated_probability(level: float) -> None:
    """Whatever the units differ by; quantiles of pooled points, by contrast, hold too few."""
    rng, held, pooled = np.random.default_rng(1), [], []
    for _ in range(2000):
        scores, unit = hierarchical(rng, 15)
        new, own = hierarchical(rng, 1)
        held.append(unit_shares((new <= conformal_quantile(scores, unit, level)).astype(float), own, 1)[0])
        pooled.append((new <= np.quantile(scores, level)).mean())
    error = np.std(held) / np.sqrt(len(held))
    assert level - 3 * error <= np.mean(held) <= level + 1 / 16 + 3 * error
    assert level < 0.9 or np.mean(pooled) < level - error


def test_joint_radius_holds_all_points_of_a_subject() -> None:
    rng, inside = np.random.default_rng(2), []
    for _ in range(500):
        distance = np.abs(rng.standard_t(3, (40, 5)))
        distance[rng.random(distance.shape) < 0.2] = np.nan
        radius = region_radii(distance[:-1], np.arange(39), 0.9)[-1]
        inside.append(joint_scores(distance[-1:])[0] <= radius)
    assert abs(np.mean(inside) - 0.9) < 0.04


def test_joint_scores_skip_what_is_not_labeled() -> None:
    scores = joint_scores(np.array([[1.0, np.nan], [np.inf, 2.0], [np.nan, np.nan]]))
    np.testing.assert_array_equal(scores, [1.0, np.inf, np.nan])


def test_the_ends_of_the_axes_are_at_the_radius() -> None:
    factors = np.random.default_rng(3).normal(size=(20, 2, 2))
    covariance = factors @ factors.transpose(0, 2, 1)
    long, short, angle = np.moveaxis(ellipse_axes(covariance, 2.5), -1, 0)
    along = np.stack((np.cos(np.radians(angle)), np.sin(np.radians(angle))), -1)
    across = np.stack((-along[:, 1], along[:, 0]), -1)
    np.testing.assert_allclose(mahalanobis(long[:, None] * along, covariance), 2.5)
    np.testing.assert_allclose(mahalanobis(short[:, None] * across, covariance), 2.5)
    assert (long >= short).all()
