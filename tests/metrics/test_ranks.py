"""Ranks are those of scipy, with equal values, infinities and none at all."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import rankdata

from softpoint.metrics.ranks import highest_ranks, mean_ranks


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_ranks_are_those_of_scipy(count: int) -> None:
    values = np.random.default_rng(count).integers(0, 20, count) - 10.0
    values[values == 0] = -math.inf
    np.testing.assert_array_equal(mean_ranks(values), rankdata(values))
    np.testing.assert_array_equal(highest_ranks(values), rankdata(values, "max"))


def test_what_is_no_number_has_no_rank() -> None:
    assert np.isnan(mean_ranks(np.array([1.0, math.nan]))).tolist() == [False, True]
