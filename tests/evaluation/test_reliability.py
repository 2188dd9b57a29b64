"""Confidences and covariances are measured as defined: exact ones score 0, and a loop gives the same numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from softpoint.evaluation import Results
from softpoint.evaluation.plots import error_figure, models_parts_figure
from softpoint.evaluation.reliability_plots import reliability_figure, wilson
from softpoint.images.decode import read_image
from softpoint.labels.skeleton import Skeleton
from softpoint.metrics import COLUMNS, expected_calibration_error, rank_correlation
from softpoint.viz.figures import write_figure

N, K = 1500, 4


def exact(count: int = N, seed: int = 0) -> Results:
    """Errors drawn from the covariances stated, and the probability of at most 5 % of the scale as confidence."""
    rng = np.random.default_rng(seed)
    spread, turn = rng.uniform(0.5, 6, (count, K)), rng.uniform(0, math.pi, (count, K))
    axes = np.stack([np.stack([np.cos(turn), -np.sin(turn)], -1), np.stack([np.sin(turn), np.cos(turn)], -1)], -2)
    covariance = (spread**2)[..., None, None] * axes @ np.diag([1.0, 1.0]) @ axes.swapaxes(-1, -2)
    truth = rng.uniform(20, 80, (count, K, 2))
    keypoints = truth + spread[..., None] * rng.standard_normal((count, K, 2))
    scale = rng.uniform(50, 150, count)
    confidence = 1 - np.exp(-((0.05 * scale[:, None]) ** 2) / (2 * spread**2))
    visibility = np.full((count, K), 2)
    visibility[0, 0], truth[0, 0] = 0, np.nan
    names = [f"{i}.png" for i in range(count)]
    sizes = np.full((count, 2), 100)
    return Results(
        names, names, keypoints, truth, visibility, confidence, covariance, scale, None, sizes, Skeleton(tuple("abcd"))
    )


def reliability(results: Results) -> dict[str, float]:
    """The metrics of the confidences and covariances."""
    numbers = {name: COLUMNS[name].of_set(results, 0.05) for name in ("ece", "rank_correlation")}
    coverages = {
        name: COLUMNS[name].summarize(COLUMNS[name].values(results)) for name in ("coverage_50", "coverage_90")
    }
    return numbers | {name: math.nan if value is None else value for name, value in coverages.items()}


def test_a_calibrated_model_is_measured_as_calibrated():
    measured = reliability(exact())
    assert measured["ece"] < 0.015
    assert measured["coverage_50"] == pytest.approx(0.5, abs=0.02)
    assert measured["coverage_90"] == pytest.approx(0.9, abs=0.015)
    assert 0.5 < measured["rank_correlation"] < 0.8  # errors are drawn, so that no one could know them


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_scaled_ellipses_cover_what_the_formula_gives(factor: float):
    results = exact()
    measured = reliability(replace(results, covariance=factor**2 * results.covariance))
    for level in (0.5, 0.9):
        expected = 1 - (1 - level) ** (factor**2)
        assert measured[f"coverage_{round(100 * level)}"] == pytest.approx(expected, abs=0.02)


def test_the_calibration_error_is_that_of_a_loop():
    results = exact(50)
    known = [(i, k) for i in range(50) for k in range(K) if results.visibility[i, k] > 0]
    bins: dict[int, list[tuple[float, bool]]] = {}
    for i, k in known:
        error = math.dist(results.keypoints[i, k], results.truth[i, k])
        confidence = float(results.confidence[i, k])
        bins.setdefault(min(int(confidence * 10), 9), []).append((confidence, error <= 0.05 * results.scale[i]))
    gaps = [abs(sum(c for c, _ in b) / len(b) - sum(h for _, h in b) / len(b)) * len(b) for b in bins.values()]
    assert reliability(results)["ece"] == pytest.approx(sum(gaps) / len(known), abs=1e-12)


def test_confident_and_wrong_is_an_error_of_one():
    confidence = np.array([0.0, 1.0, 1.0, 0.0])
    assert expected_calibration_error(confidence, confidence < 0.5) == 1.0
    assert expected_calibration_error(confidence, confidence > 0.5) == 0.0


def test_equal_values_share_their_rank():
    # Worked by hand: ranks 1, 2.5, 2.5, 4 and 2, 1, 3.5, 3.5, from their mean 2.5.
    a, b = np.array([1.0, 2.0, 2.0, 9.0]), np.array([3.0, 1.0, 7.0, 7.0])
    assert rank_correlation(a, b) == pytest.approx(((-1.5) * (-0.5) + 1.5 * 1.0) / math.sqrt(4.5 * 4.5))
    assert rank_correlation(a, np.exp(a)) == pytest.approx(1) and rank_correlation(a, -a) == pytest.approx(-1)
    assert math.isnan(rank_correlation(a, np.ones(4)))


def test_an_ellipse_without_area_covers_its_center_alone():
    results = exact(20)
    flat = replace(results, covariance=np.zeros_like(results.covariance))
    assert reliability(flat)["coverage_90"] == 0
    truth = np.where(np.isfinite(results.truth), results.keypoints, np.nan)
    assert reliability(replace(flat, truth=truth))["coverage_90"] == 1


def test_without_labels_every_metric_is_nan():
    results = exact(3)
    nothing = replace(results, visibility=np.zeros((3, K), int), truth=np.full((3, K, 2), np.nan))
    assert all(math.isnan(value) for value in reliability(nothing).values())


@pytest.mark.parametrize("count", [0, 1, 40])
@pytest.mark.parametrize("keypoints", [K, 3 * K])
def test_figures_are_drawn_for_any_number_of_points(tmp_path: Path, count: int, keypoints: int):
    results = exact(40).select(range(count))
    repeated = {
        field: np.tile(values, (1, keypoints // K) + (1,) * (values.ndim - 2))
        for field, values in vars(results).items()
        if isinstance(values, np.ndarray) and values.shape[:2] == (count, K)
    }
    names = [f"$point_{i}" for i in range(keypoints)]
    results = replace(results, **repeated, skeleton=Skeleton(tuple(names)))
    for figure in (error_figure(results), reliability_figure(results)):
        write_figure(tmp_path / "figure", figure)
        image = read_image(tmp_path / "figure.png")
        assert image.min() < 100 and image.std() > 5


@pytest.mark.parametrize(("hits", "count"), [(0, 1), (0, 25), (7, 25), (25, 25), (480, 1000)])
def test_bars_are_the_interval_that_scipy_computes(hits: int, count: int) -> None:
    ends = binomtest(hits, count).proportion_ci(method="wilson")
    expected = [[hits / count - ends.low], [ends.high - hits / count]]
    np.testing.assert_allclose(wilson(hits / count, count), expected, atol=1e-12)


def test_charts_plot_the_numbers_of_the_results():
    results = exact(60)
    axes = error_figure(results).axes[0]
    x, y = axes.lines[-1].get_data()  # all keypoints
    errors = np.sort(results.errors[np.isfinite(results.errors)])
    assert np.allclose(x[1:], errors) and y[-1] == 1
    confidence, coverage, points = reliability_figure(results).axes
    drawn = np.concatenate([bars.lines[0].get_data() for bars in confidence.containers], axis=1).astype(float)
    hit = results.errors <= 0.05 * results.scale[:, None]
    ranked = sorted(zip(results.confidence[results.labeled], hit[results.labeled], strict=True))
    parts = np.array_split(np.array(ranked, float), 9)  # 239 points, 26 or 27 in each
    np.testing.assert_allclose(drawn.T, [part.mean(0) for part in parts])
    levels, inside = coverage.lines[0].get_data()
    assert inside[np.argmin(abs(levels - 0.5))] == reliability(results)["coverage_50"]
    assert len(points.lines[0].get_xdata()) == len(errors) and f"{reliability(results)['ece']:.3f}" in (
        confidence.get_title(loc="left")
    )


def test_no_two_of_many_models_have_one_mark() -> None:
    models = {str(i): {"nose": np.array([i + 1.0])} for i in range(12)}
    lines = models_parts_figure("keypoint", models).axes[0].get_lines()
    assert len({(line.get_marker(), line.get_color()) for line in lines}) == 12
