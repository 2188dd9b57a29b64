"""The rate of wrong points among those that a chosen threshold accepts is kept as often as stated."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from softpoint.metrics.risk import choose_threshold, needed_units, p_value, risk_coverage, upper_bound

Points = tuple[np.ndarray, np.ndarray, np.ndarray]


def drawn(rng: np.random.Generator, units: int, size: int) -> Points:
    """Points whose wrongness follows their confidence and the level of their unit, which differ much."""
    unit = np.repeat(np.arange(units), size)
    level = rng.normal(0, 1, units)[unit]
    confidence = 1 / (1 + np.exp(-rng.normal(2, 2, len(unit))))
    odds = 3 - 9 * confidence + level
    return confidence, rng.random(len(unit)) < 1 / (1 + np.exp(-odds)), unit


def true_rates() -> Callable[[float], float]:
    """Return a function from a threshold to the rate of wrong points among very many that it accepts."""
    confidence, wrong, _ = drawn(np.random.default_rng(99), 200_000, 1)
    order = np.argsort(-confidence)
    rates = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
    return lambda threshold: float(rates[np.searchsorted(-confidence[order], -threshold, "right") - 1])


TRUE_RATE = true_rates()


@pytest.mark.parametrize(("units", "size", "rate"), [(400, 1, 0.06), (300, 8, 0.06), (60, 8, 0.12)])
def test_the_stated_rate_is_exceeded_in_at_most_five_percent_of_trials(units: int, size: int, rate: float) -> None:
    rng, exceeded, found = np.random.default_rng(units), 0, []
    for _ in range(200):
        threshold = choose_threshold(*drawn(rng, units, size), rate, 0.95)
        if threshold is not None:
            found.append(threshold)
            exceeded += TRUE_RATE(threshold) > rate
    assert exceeded <= stats.binom.ppf(0.99, 200, 0.05)
    assert units < 100 or len(found) > 100  # it is of use


def test_units_that_are_wrong_together_count_as_one() -> None:
    """By images that one video's points are all wrong of is nothing shown, however many points there are."""
    accepted, unit = np.ones(3000, bool), np.repeat(np.arange(30), 100)
    assert p_value(accepted, np.zeros(3000, bool), unit, 0.05) > 0.2
    assert p_value(accepted, np.zeros(3000, bool), np.arange(3000), 0.05) < 1e-9


@pytest.mark.parametrize(("rate", "certainty"), [(0.02, 0.95), (0.05, 0.9), (0.1, 0.99)])
@pytest.mark.parametrize("size", [1, 3])
def test_needed_units_are_the_fewest_of_which_a_faultless_set_passes(rate: float, certainty: float, size: int) -> None:
    count = needed_units(rate, certainty, single=size == 1)
    for units, passes in ((count, True), (count - 1, False)):
        unit = np.repeat(np.arange(units), size)
        faultless = np.ones(len(unit)), np.zeros(len(unit), bool), unit
        assert choose_threshold(*faultless, rate, certainty) == (0.0 if passes else None)


@pytest.mark.parametrize(("wrong", "points"), [(0, 40), (3, 40), (10, 200)])
def test_bounds_of_single_points_are_those_of_clopper_and_pearson(wrong: int, points: int) -> None:
    bound = upper_bound(np.ones(points, bool), np.arange(points) < wrong, np.arange(points), 0.95)
    assert bound == pytest.approx(stats.beta.ppf(0.95, wrong + 1, points - wrong), abs=1e-5)


def test_bounds_of_groups_hold_the_rate_and_narrow_with_their_number() -> None:
    rng, held, bounds = np.random.default_rng(0), [], {40: [], 400: []}
    for units, found in bounds.items():
        for _ in range(40):
            confidence, wrong, unit = drawn(rng, units, 6)
            found.append(upper_bound(confidence >= 0.8, wrong, unit, 0.9))
        held += [bound >= TRUE_RATE(0.8) for bound in found]
    assert np.mean(held) >= 0.9 and np.mean(bounds[400]) < np.mean(bounds[40])


def test_a_curve_counts_each_unit_the_same() -> None:
    curve = risk_coverage(np.array([0.9, 0.9, 0.9, 0.2]), np.array([False, False, True, True]), np.array([0, 0, 0, 1]))
    at = {row.threshold: row for row in curve}
    assert at[0.5].share == pytest.approx(0.5) and at[0.5].wrong == pytest.approx(1 / 3) and at[0.5].points == 3
    assert at[0.0].share == 1 and at[0.0].wrong == pytest.approx(2 / 3)
    assert at[1.0].points == 0 and at[1.0].wrong == 0
