"""Charts put values where their axes say."""

from __future__ import annotations

import numpy as np
import pytest

from softpoint.viz.axis import Axis, fit_axis
from softpoint.viz.chart import line_chart
from softpoint.viz.strokes import band, bars, dots, stroke, to_pixels

INK = (0, 0, 200)


def plot() -> np.ndarray:
    return np.full((101, 201, 3), 255, np.uint8)


def inked(image: np.ndarray) -> np.ndarray:
    """(x, y) of every pixel that is not paper."""
    return np.argwhere((image != 255).any(-1))[:, ::-1]


def test_a_line_passes_through_its_points():
    image = plot()
    stroke(image, to_pixels(image, np.array([0.0, 1.0]), np.array([0.25, 0.25])), INK, dashed=False)
    marked = inked(image)
    assert abs(marked[:, 1].mean() - 75) < 0.6 and np.ptp(marked[:, 0]) == 200


def test_a_line_breaks_where_a_value_is_missing():
    image, x = plot(), np.linspace(0, 1, 21)
    y = np.where(np.abs(x - 0.5) < 0.06, np.nan, 0.5)
    stroke(image, to_pixels(image, x, y), INK, dashed=False)
    columns = set(inked(image)[:, 0].tolist())
    assert not columns & set(range(92, 109)) and {10, 80, 120, 190} <= columns


def test_a_dashed_line_has_gaps():
    solid, dashed = plot(), plot()
    ends = to_pixels(solid, np.array([0.0, 1.0]), np.array([0.5, 0.5]))
    stroke(solid, ends, INK, dashed=False)
    stroke(dashed, ends, INK, dashed=True)
    assert 0.4 * len(inked(solid)) < len(inked(dashed)) < 0.8 * len(inked(solid))


def test_a_dot_lies_on_its_point():
    image = plot()
    dots(image, to_pixels(image, np.array([0.3, np.nan]), np.array([0.8, 0.1])), INK)
    assert np.allclose(inked(image).mean(0), (60, 20), atol=0.3)


def test_a_bar_spans_its_interval_and_a_band_its_area():
    image = plot()
    bars(image, np.array([0.5]), np.array([0.2]), np.array([0.6]), INK)
    rows = inked(image)[:, 1]
    assert abs(rows.min() - 40) <= 2 and abs(rows.max() - 80) <= 2
    image = plot()
    band(image, np.array([0.0, 1.0]), np.array([0.2, 0.2]), np.array([0.6, 0.6]), INK)
    assert abs(len(inked(image)) - 201 * 41) < 3 * 201


def test_ticks_are_round_few_and_inside():
    rng = np.random.default_rng(0)
    for _ in range(300):
        low = float(rng.normal() * 10 ** rng.uniform(-3, 4))
        high = low + 10 ** rng.uniform(-3, 4)
        values = [value for value, _ in Axis(low, high).ticks()]
        assert 2 <= len(values) <= 8 and low - 1e-6 * (high - low) <= min(values)
        assert max(values) <= high + 1e-6 * (high - low)
        assert np.allclose(np.diff(values), values[1] - values[0], rtol=1e-4)


def test_log_ticks_are_inside_and_few():
    rng = np.random.default_rng(0)
    for _ in range(300):
        low = 10 ** rng.uniform(-4, 4)
        high = low * 10 ** rng.uniform(0.4, 9)
        values = [value for value, _ in Axis(low, high, log=True).ticks()]
        assert 1 <= len(values) <= 7 and low <= min(values) * 1.001 and max(values) <= high * 1.001


def test_a_short_logarithmic_axis_has_enough_numbers_to_be_read():
    assert [text for _, text in Axis(5.9, 9.7, log=True).ticks()] == ["6", "7", "8", "9"]
    assert [text for _, text in Axis(1.01, 1.04, log=True).ticks()] == [
        "1.01",
        "1.015",
        "1.02",
        "1.025",
        "1.03",
        "1.035",
        "1.04",
    ]


def test_an_axis_shows_every_value():
    values = np.array([3.0, np.nan, -2.0, 7.5, np.inf])
    axis = fit_axis([values])
    assert axis.low < -2 and axis.high > 7.5 and np.isfinite([axis.low, axis.high]).all()
    assert fit_axis([np.array([0.1, 5.0])]).low == 0
    log = fit_axis([np.array([0.0, 0.01, 10.0])], log=True)
    assert 0 < log.low <= 0.01 and log.high >= 10
    for empty in ([], [np.array([np.nan])], [np.array([2.0, 2.0])]):
        assert fit_axis(empty).low < fit_axis(empty).high


@pytest.mark.parametrize("size", [(120, 160), (600, 960)])
def test_any_series_gives_a_chart(size: tuple[int, int]):
    x = np.arange(5.0)
    series = {f"a rather long name {i}": (x, x * i) for i in range(40)} | {"none": ([], []), "gone": (x, x * np.nan)}
    image = line_chart(series, "title " * 40, "x", "y " * 200, dashed=["none"], scatter=["gone"], size=size)
    assert image.shape == (*size, 3) and image.dtype == np.uint8
    assert line_chart({}, size=size).shape == (*size, 3)


def test_what_does_not_fit_is_said():
    with pytest.raises(ValueError, match=r"series 'a' has x of shape \(2,\) and y of shape \(3,\)"):
        line_chart({"a": ([0, 1], [0, 1, 2])})
    with pytest.raises(ValueError, match="no series 'b' in the chart; it has a"):
        line_chart({"a": ([0], [0])}, scatter=["b"])
    with pytest.raises(ValueError, match="bands of 'a' has 1 values, but its x has 2"):
        line_chart({"a": ([0, 1], [0, 1])}, bands={"a": ([0], [1])})
