"""Intervals agree with closed forms and with resampling done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from softpoint.evaluation.bootstrap import (
    MIN_UNITS,
    draw_counts,
    find_units,
    interval,
    mean_draws,
    probability_above,
    quantile_draws,
)


def test_the_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(0).normal(5, 2, (400, 1))
    low, high = interval(mean_draws(values, np.arange(400), draw_counts(400, 4000, 1)), 400)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.06 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.06 * half)


def test_units_that_stay_together_widen_the_interval():
    """With every unit n times there, the spread is that of the units, not sqrt(n) smaller."""
    values = np.repeat(np.random.default_rng(0).normal(0, 1, (50, 1)), 9, axis=0)
    counts = draw_counts(50, 4000, 0)
    together = mean_draws(values, np.repeat(np.arange(50), 9), counts).std()
    alone = mean_draws(values, np.arange(450), draw_counts(450, 4000, 0)).std()
    assert together / alone == pytest.approx(3, rel=0.06)


@pytest.mark.parametrize("share", [0.0, 0.31, 0.5, 0.95, 1.0])
def test_draws_are_what_repeating_the_units_gives(share: float):
    rng = np.random.default_rng(3)
    values = np.where(rng.random((30, 4)) < 0.2, np.nan, rng.lognormal(size=(30, 4)))
    unit = rng.integers(0, 8, 30)
    counts = draw_counts(8, 40, 5)
    means, quantiles = mean_draws(values, unit, counts), quantile_draws(values, unit, counts, share)
    for i, row in enumerate(counts.astype(int)):
        drawn = np.concatenate([values[unit == u].ravel() for u in range(8) for _ in range(row[u])])
        drawn = drawn[np.isfinite(drawn)]
        assert means[i] == pytest.approx(drawn.mean(), rel=1e-12)
        assert quantiles[i] == pytest.approx(np.quantile(drawn, share), rel=1e-12)


def test_a_resample_without_values_is_nan_and_does_not_count():
    values, unit = np.array([[1.0], [np.nan]]), np.array([0, 1])
    counts = np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    for draws in (mean_draws(values, unit, counts), quantile_draws(values, unit, counts, 0.5)):
        assert np.array_equal(draws, [1, 1, np.nan], equal_nan=True)
        assert interval(draws, 6) == (1, 1)
    assert interval(np.array([np.nan]), 6) is interval(np.ones(5), 5) is None
    assert np.isnan(quantile_draws(values[1:], unit[:1], counts[:, :1], 0.5)).all()


@pytest.mark.parametrize("units", [2, 3, 4, 5, 6, 7, 8, 10, 40])
def test_an_interval_holds_the_truth_as_often_as_its_level_or_is_none(units: int):
    rng, unit, counts = np.random.default_rng(7), np.arange(units), draw_counts(units, 1000, 0)
    draws = [mean_draws(rng.normal(size=(units, 1)), unit, counts) for _ in range(1500)]
    ends = [interval(values, units) for values in draws]
    if units < MIN_UNITS:
        assert ends == [None] * 1500
        return
    inside = np.mean([low < 0 < high for low, high in ends])
    assert 0.915 < inside < 0.965
    above = np.array([probability_above(values, units) for values in draws])
    assert np.mean((above > 0.025) & (above < 0.975)) == pytest.approx(inside, abs=0.01)


@pytest.mark.parametrize("groups", [2, 5])
def test_units_are_groups_unless_there_is_only_one_or_one_for_each_image(groups: int):
    images = [f"{i}.png" for i in range(10)]
    unit, kind = find_units(images, [f"v{i % groups}" for i in range(10)])
    assert kind == "groups" and unit.tolist() == [i % groups for i in range(10)]
    for names in (["v"] * 3, ["a", "b", "a"]):
        unit, kind = find_units(["a", "b", "a"], names)
        assert kind == "images" and unit.tolist() == [0, 1, 0]


def test_a_seed_decides_the_draws():
    a, b, c = (draw_counts(7, 9, seed) for seed in (0, 0, 1))
    assert np.array_equal(a, b) and not np.array_equal(a, c) and (a.sum(1) == 7).all()
