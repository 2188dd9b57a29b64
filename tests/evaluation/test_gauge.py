"""Gauge studies: the example of the handbook, known variances, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers.results import example_results
from softpoint.evaluation.gauge import Gauge, gauge_study, gauge_tables
from softpoint.evaluation.repeats import measure_repeats
from softpoint.labels.plane import Plane
from softpoint.labels.skeleton import Skeleton

# Measurements of ten parts by three appraisers in three trials each: AIAG, Measurement Systems Analysis, 4th edition.
AIAG = [
    [0.29, -0.56, 1.34, 0.47, -0.80, 0.02, 0.59, -0.31, 2.26, -1.36],
    [0.41, -0.68, 1.17, 0.50, -0.92, -0.11, 0.75, -0.20, 1.99, -1.25],
    [0.64, -0.58, 1.27, 0.64, -0.84, -0.21, 0.66, -0.17, 2.01, -1.31],
    [0.08, -0.47, 1.19, 0.01, -0.56, -0.20, 0.47, -0.63, 1.80, -1.68],
    [0.25, -1.22, 0.94, 1.03, -1.20, 0.22, 0.55, 0.08, 2.12, -1.62],
    [0.07, -0.68, 1.34, 0.20, -1.28, 0.06, 0.83, -0.34, 2.19, -1.50],
    [0.04, -1.38, 0.88, 0.14, -1.46, -0.29, 0.02, -0.46, 1.77, -1.49],
    [-0.11, -1.13, 1.09, 0.20, -1.07, -0.67, 0.01, -0.56, 1.45, -1.77],
    [-0.15, -0.96, 0.67, 0.11, -1.45, -0.49, 0.21, -0.49, 1.87, -2.16],
]


def test_the_example_of_the_handbook_has_its_results() -> None:
    found = Gauge.of(np.array(AIAG).reshape(3, 3, 10).transpose(2, 0, 1))
    assert found == pytest.approx((0.199933, 0.226838, 0.0, 1.042327), abs=2e-6)
    assert found.grr == pytest.approx(0.302373, abs=2e-6) and found.tv == pytest.approx(1.085, abs=1e-3)
    shares = found.to_dict()["shares"]
    assert [round(100 * shares[name], 1) for name in ("ev", "av", "grr", "pv")] == [18.4, 20.9, 27.9, 96.0]
    assert int(found.ndc) == 4


def test_known_variances_are_found_without_bias() -> None:
    rng, size = np.random.default_rng(0), (8, 5, 3)
    squares = [
        np.square(
            Gauge.of(
                rng.normal(0, 3, (8, 1, 1)) + rng.normal(0, 2, (1, 5, 1)) + rng.normal(0, 1, (8, 5, 1))
                + rng.normal(0, 0.4, size)
            )
        )
        for _ in range(800)
    ]  # fmt: skip
    assert np.mean(squares, 0) == pytest.approx([0.16, 4.0, 1.0, 9.0], rel=0.06)


def test_an_interaction_by_chance_counts_as_repeatability() -> None:
    rng = np.random.default_rng(0)
    found = [Gauge.of(rng.normal(0, 1, (6, 3, 2)) + np.arange(6.0)[:, None, None]) for _ in range(300)]
    assert np.mean([one.interaction == 0 for one in found]) == pytest.approx(0.75, abs=0.05)  # p is above 0.25
    assert np.mean([one.ev**2 for one in found]) == pytest.approx(1, rel=0.1)


def test_a_measurement_without_noise_or_variation() -> None:
    exact = Gauge.of(np.arange(4.0)[:, None, None] + np.zeros((4, 2, 2)))
    assert exact[:3] == (0, 0, 0) and exact.pv == pytest.approx(np.std(range(4), ddof=1)) and exact.ndc == np.inf
    assert np.isnan(Gauge.of(np.zeros((2, 2, 2))).to_dict()["shares"]["grr"])


def test_positions_and_distances_of_predictions_are_measured_by_names_in_paths() -> None:
    rng, shape = np.random.default_rng(0), (5, 3, 4)
    part, operator, trial = (index.ravel() for index in np.indices(shape))
    images = [f"op{o}/part{p}_{t}.png" for p, o, t in zip(part, operator, trial, strict=True)]
    keypoints = rng.uniform(0, 100, (5, 4, 2))[part] + rng.normal(0, 0.5, (3, 1, 2))[operator]
    keypoints += rng.normal(0, 0.1, keypoints.shape)
    skeleton = Skeleton((*"abcd",), (), (("a", "b"),))
    results = replace(example_results(60), images=images, skeleton=skeleton, keypoints=keypoints)
    results, expression = results.select(rng.permutation(60)), r"op(?P<operator>\d)/part(?P<part>\d)"
    found = measure_repeats(results, expression)["gauge"]
    assert {name: found[name] for name in ("unit", "parts", "operators", "trials", "images")} == {
        "unit": "px", "parts": 5, "operators": 3, "trials": 4, "images": 60,
    }  # fmt: skip
    axes = [Gauge.of(keypoints[:, 0, axis].reshape(shape)) for axis in (0, 1)]
    assert [found["keypoints"]["a"][name] for name in ("ev", "av", "pv")] == pytest.approx(
        [np.hypot(getattr(axes[0], name), getattr(axes[1], name)) for name in ("ev", "av", "pv")]
    )
    assert found["keypoints"]["a"]["ev"] == pytest.approx(0.1 * np.sqrt(2), rel=0.2)
    lengths = np.linalg.norm(keypoints[:, 0] - keypoints[:, 1], axis=-1).reshape(shape)
    assert found["distances"]["a to b"]["pv"] == pytest.approx(Gauge.of(lengths).pv)
    assert found["distances"]["a to b"]["av"] < 0.1 < found["keypoints"]["a"]["av"]  # operators shift both ends
    scaled = measure_repeats(replace(results, plane=Plane.of(0.25)), expression)["gauge"]
    assert scaled["unit"] == "mm" and scaled["keypoints"]["b"]["grr"] == pytest.approx(
        found["keypoints"]["b"]["grr"] / 4
    )
    first, second = gauge_tables(found)
    assert (len(first.rows), len(second.rows)) == (4, 1)
    assert "5 parts, 3 operators, 4 images of each" in str(first.title)


def test_what_cannot_be_measured_is_refused() -> None:
    results = example_results(8)
    results = replace(results, images=[f"{i}.png" for i in range(8)])
    with pytest.raises(ValueError, match="finds 1 images of part 'q' by operator 'b', and 2 of another part and"):
        gauge_study(results.select(range(7)), [*"ppppqqq"], [*"aabbaab"])
    with pytest.raises(ValueError, match="finds 2 parts, 1 operators and 4 images of each: a gauge study needs two"):
        gauge_study(results, [*"ppppqqqq"], ["a"] * 8)
    with pytest.raises(ValueError, match="needs one subject in each image"):
        gauge_study(replace(results, images=["a.png"] * 8), [*"ppppqqqq"], [*"aabbaabb"])
    with pytest.raises(ValueError, match=r"names operators and no parts; name these by \(\?P<part>"):
        measure_repeats(results, r"(?P<operator>\d)")
    with pytest.raises(ValueError, match="finds nothing in 8 of 8 paths"):
        measure_repeats(results, r"(?P<operator>\d)_(?P<part>\d)")
