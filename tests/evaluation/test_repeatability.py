"""Repeatability: variance components against an independent formula and a simulation, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers.results import example_results
from softpoint.evaluation.repeatability import Variation, repeatability, repeatability_tables, variation
from softpoint.labels.plane import Plane
from softpoint.labels.skeleton import Skeleton


def test_equal_numbers_of_values_give_the_means_of_variances() -> None:
    values = np.random.default_rng(0).normal(0, 1, (7, 4)) + np.arange(7)[:, None]
    found = variation(values.ravel(), np.repeat(np.arange(7), 4))
    within = values.var(1, ddof=1).mean()
    # The variance of the means is that of the parts, and a quarter of that within them.
    between = values.mean(1).var(ddof=1) - within / 4
    assert found == pytest.approx((np.sqrt(within), np.sqrt(between)))
    assert found.gauge_share == pytest.approx(np.sqrt(within / (within + between)))
    assert found.distinct == pytest.approx(np.sqrt(2 * between / within))


def test_unequal_numbers_of_values_are_unbiased() -> None:
    rng = np.random.default_rng(0)
    part = np.repeat(np.arange(6), [2, 3, 9, 1, 4, 5])
    squares = [
        np.square(variation(rng.normal(0, 3, 6)[part] + rng.normal(0, 0.5, len(part)), part)) for _ in range(1500)
    ]
    assert np.mean(squares, 0) == pytest.approx([0.25, 9.0], rel=0.06)


def test_parts_that_do_not_differ_have_no_variation_of_their_own() -> None:
    assert variation(np.array([1.0, 3.0, 3.0, 1.0]), np.array([0, 0, 1, 1])).between == 0
    assert np.isnan(variation(np.array([1.0, 3.0]), np.array([0, 0])).between)
    assert Variation(0.0, 2.0).distinct == np.inf and np.isnan(Variation(0.0, 0.0).gauge_share)


def test_a_plane_gives_millimeters() -> None:
    results = example_results(24)
    images, parts = [f"{i}.png" for i in range(24)], [f"p{i % 8}" for i in range(24)]
    pixels = repeatability(replace(results, images=images), parts)
    millimeters = repeatability(replace(results, images=images, plane=Plane.of(0.25)), parts)
    assert (pixels["unit"], millimeters["unit"]) == ("px", "mm")
    assert millimeters["keypoints"]["nose"]["position"] == pytest.approx(pixels["keypoints"]["nose"]["position"] / 4)
    assert "in mm" in str(repeatability_tables(millimeters)[0].title)


def test_a_part_that_moves_scatters_its_points_and_no_distance() -> None:
    rng = np.random.default_rng(0)
    parts = np.repeat(np.arange(5), 20)
    shape = rng.uniform(0, 100, (5, 4, 2))[parts]
    noise = rng.normal(0, 0.1, shape.shape)
    skeleton = Skeleton(("a", "b", "c", "d"), (), (("a", "b"), ("c", "d")))
    images = [f"part{p}/{i}.png" for i, p in enumerate(parts)]
    results = replace(example_results(100), images=images, skeleton=skeleton)
    still = repeatability(replace(results, keypoints=shape + noise), [f"p{p}" for p in parts])
    moved = repeatability(
        replace(results, keypoints=shape + noise + rng.normal(0, 5, (100, 1, 2))), [f"p{p}" for p in parts]
    )
    assert (still["parts"], still["images"]) == (5, 100)
    for name in "abcd":
        assert still["keypoints"][name]["position"] == pytest.approx(0.1 * np.sqrt(2), rel=0.2)
        assert moved["keypoints"][name]["position"] == pytest.approx(5 * np.sqrt(2), rel=0.2)
    for name in ("a to b", "c to d"):
        assert still["distances"][name] == pytest.approx(moved["distances"][name])
        assert still["distances"][name]["within"] == pytest.approx(0.1 * np.sqrt(2), rel=0.2)
        assert still["distances"][name]["grr"] < 0.05
    assert [len(table.rows) for table in repeatability_tables(still)] == [4, 2]


def test_what_cannot_be_measured_is_refused() -> None:
    results = example_results(12)
    with pytest.raises(ValueError, match="needs one subject in each image"):
        repeatability(results, ["a"] * 12)
    single = results.select(range(1, 6))
    with pytest.raises(ValueError, match="finds 5 parts in 5 images, and none has two images"):
        repeatability(single, [*"abcde"])
