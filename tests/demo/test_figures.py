"""Figures show the numbers at their places, and their sentences say them."""

from __future__ import annotations

import numpy as np
import pytest

from softpoint.demo import analyze, attention_steps, feature_map, map_features, seeded_module
from softpoint.demo.attention_figure import attention_figure
from softpoint.demo.feature_maps import example_batch
from softpoint.demo.figures import batch_figure, channels_figure, kinds_figure, softmax_figure, temperature_figure
from softpoint.demo.panels import MARKS, ellipse
from softpoint.metrics.functional import squared_mahalanobis


def test_the_points_of_a_map_are_drawn_and_said() -> None:
    seen = analyze(feature_map("floor", (24, 32)))
    figure, text = softmax_figure(seen, "floor")
    lines = {line.get_label(): line.get_xydata() for line in figure.axes[1].lines}
    for name, (label, *_) in MARKS.items():
        assert np.allclose(lines[label], [getattr(seen, name)])
    assert np.array_equal(figure.axes[1].images[0].get_array(), seen.softmax)
    assert f"({seen.fit[0]:.2f}, {seen.fit[1]:.2f})" in text and f"entropy {seen.entropy:.2f} bits" in text


def test_the_ellipse_is_two_sigma_from_the_mean() -> None:
    seen = analyze(feature_map("two_peaks", (24, 32)))
    offsets = ellipse(seen).T - np.array(seen.expectation)
    distance = squared_mahalanobis(offsets, np.broadcast_to(seen.covariance, (len(offsets), 2, 2)))
    assert distance == pytest.approx(4, rel=1e-3)


def test_grids_have_a_panel_for_each_map_and_temperature() -> None:
    batch = example_batch((12, 16))
    analyses = [analyze(batch[0, :, :, 2], temperature) for temperature in (0.5, 5)]
    strip = temperature_figure(analyses, "floor")
    assert [axes.get_title(loc="left") for axes in strip.figure.axes] == ["floor", "T = 0.5", "T = 5"]
    assert all(
        f"({a.expectation[0]:.1f}, {a.expectation[1]:.1f}) at T = {a.temperature:g}" in strip.text for a in analyses
    )
    grid = kinds_figure({"a": batch[0, :, :, 0], "b": batch[1, :, :, 1]}, (0.5, 1.0, 2.0))
    assert len(grid.figure.axes) == 8 and "(a, b)" in grid.text
    assert np.array_equal(grid.figure.axes[6].images[0].get_array(), analyze(batch[1, :, :, 1]).softmax)
    assert len(channels_figure(batch[1]).figure.axes) == 8
    many = batch_figure(np.tile(batch, (2, 1, 1, 2)))
    assert len(many.figure.axes) == 4 * 6 and "4 of 6 samples by 6 of 8 channels" in many.text
    third_of_second = many.figure.axes[6 + 2].images[0].get_array()
    assert np.array_equal(third_of_second, analyze(batch[1, :, :, 2]).softmax)


def test_attention_is_shown_with_its_router_weights() -> None:
    steps = attention_steps(map_features(feature_map("floor", (16, 16))), seeded_module())
    figure, text = attention_figure(steps)
    shown = [axes for axes in figure.axes if axes.get_visible() and axes.images]
    assert len(shown) == 4 + 4 + 4 and all(f"{weight:.3f}" in text for weight in steps.weights)
    assert np.array_equal(shown[-1].images[0].get_array(), steps.masks[5.0])
