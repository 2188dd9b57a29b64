"""Figures of confidences and covariances: a calibrated model is on every dashed line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from softpoint.evaluation.results import Results
from softpoint.metrics.calibration import (
    BINS,
    FRACTION,
    confidences_and_hits,
    expected_calibration_error,
    predicted_and_real_errors,
    rank_correlation,
)
from softpoint.metrics.functional import ellipse_radius, squared_mahalanobis
from softpoint.viz.figures import COLORS, REFERENCE, new_figure, number_log_axis, styled

_PANEL = (4, 3.9)  # inches
_MAX_DOTS = 1000
_LEVELS = ((0.5, "coverage_50", COLORS[0], "o"), (0.9, "coverage_90", COLORS[1], "s"))


@styled
def reliability_figure(results: Results, fraction: float = FRACTION) -> Figure:
    """Return the calibration of confidences, the coverage of covariances and predicted errors side by side."""
    figure, (left, middle, right) = new_figure(3, (11, 3.9))
    _draw_calibration(left, results, fraction)
    _draw_coverage(middle, results)
    _draw_predicted_errors(right, results)
    return figure


@styled
def calibration_figure(results: Results, fraction: float = FRACTION) -> Figure:
    """Return the hit rate against the confidence."""
    figure, (axes,) = new_figure(size=_PANEL)
    _draw_calibration(axes, results, fraction)
    return figure


@styled
def coverage_figure(results: Results) -> Figure:
    """Return the fraction of errors inside the ellipse of each probability."""
    figure, (axes,) = new_figure(size=_PANEL)
    _draw_coverage(axes, results)
    return figure


@styled
def predicted_error_figure(results: Results) -> Figure:
    """Return the error of each point against that predicted by its covariance."""
    figure, (axes,) = new_figure(size=_PANEL)
    _draw_predicted_errors(axes, results)
    return figure


@styled
def quarter_figure(quarters: Sequence[Mapping[str, Any]]) -> Figure:
    """Return the coverage of the 50 and 90 % ellipses in each quarter of the points by confidence.

    `quarters` are those of metrics.json; bars are Wilson's 95 % intervals.
    """
    figure, (axes,) = new_figure(size=_PANEL)
    places = np.arange(len(quarters))
    for i, (level, name, color, marker) in enumerate(_LEVELS):
        axes.axhline(level, **REFERENCE)
        for place, quarter in zip(places + 0.16 * i - 0.08, quarters, strict=True):
            rate = quarter[name]
            ends = wilson(rate, quarter["points"])
            axes.errorbar(place, rate, ends, color=color, marker=marker, capsize=3, clip_on=False)
        axes.plot([], [], marker, color=color, label=f"{100 * level:g} % ellipse")
    axes.set(title="Coverage by confidence", xlim=(-0.5, max(len(quarters), 1) - 0.5), ylim=(0, 1))
    axes.set(xlabel="mean confidence of the quarter", ylabel="fraction of errors inside")
    axes.set_xticks(places, [f"{quarter['confidence']:.2f}" for quarter in quarters])
    axes.grid(False, axis="x")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def risk_figure(risk: Mapping[str, Any]) -> Figure:
    """Return the rate of wrong points and its bound against the share of points that are accepted.

    `risk` is that of metrics.json.
    """
    figure, (axes,) = new_figure(size=_PANEL)
    rows = [row for row in risk["curve"] if row["points"]]
    accepted = [row["accepted"] for row in rows]
    axes.plot(accepted, [row["wrong"] for row in rows], color=COLORS[0], label="wrong")
    bound = f"bound, {100 * risk['confidence']:g} % sure"
    axes.plot(accepted, [row["bound"] for row in rows], color=COLORS[1], label=bound)
    axes.axhline(risk["rate"], **REFERENCE)
    top = max(2 * risk["rate"], 1.1 * max(row["wrong"] for row in rows))
    axes.set(xlim=(0, 1), ylim=(0, min(1, top)), title=f"Off by more than {risk['limit']}")
    axes.set(xlabel="fraction of points accepted", ylabel="fraction of these that is wrong")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _draw_calibration(axes: Axes, results: Results, fraction: float) -> None:
    """Hit rates of equal parts of the points, sorted by confidence, with Wilson's 95 % intervals."""
    confidence, hit = confidences_and_hits(results, fraction)
    for part in _equal_parts(confidence):
        rate, ends = hit[part].mean(), wilson(hit[part].mean(), len(part))
        axes.errorbar(confidence[part].mean(), rate, ends, color=COLORS[0], marker="o", capsize=3, clip_on=False)
    axes.set(title=f"Calibration error {expected_calibration_error(confidence, hit):.3f}", xlabel="confidence")
    axes.set_ylabel(f"fraction within {100 * fraction:g} % of the subject")
    unit_square(axes)


def _draw_coverage(axes: Axes, results: Results) -> None:
    offsets = (results.keypoints - results.truth)[results.labeled]
    distance = np.sqrt(squared_mahalanobis(offsets, results.covariance[results.labeled]))
    levels = np.linspace(0, 0.99, 100)
    axes.plot(levels, [_fraction_inside(distance, level) for level in levels], color=COLORS[0])
    held = ", ".join(f"{100 * _fraction_inside(distance, level):.0f}" for level in (0.5, 0.9))
    axes.set(title=f"Coverage at 50, 90 %: {held} %", xlabel="probability of the ellipse")
    axes.set_ylabel("fraction of errors inside")
    unit_square(axes)


def _draw_predicted_errors(axes: Axes, results: Results) -> None:
    """A dot for each point; of many points, for every n-th by predicted error."""
    predicted, error = predicted_and_real_errors(results)
    axes.set(title=f"Rank correlation {rank_correlation(predicted, error):.2f}")
    every = -(-len(error) // _MAX_DOTS) or 1
    order = np.argsort(predicted, kind="stable")[::every]
    predicted, error = predicted[order].clip(1e-2), error[order].clip(1e-2)
    axes.loglog(predicted, error, "o", color=COLORS[0], alpha=0.6 if len(error) < 500 else 0.3, ms=3, mew=0)
    axes.set(xlabel="predicted error (px)", ylabel=f"error (px){f' of every {every}th point' if every > 1 else ''}")
    if len(predicted):
        axes.plot([predicted.min(), predicted.max()], [predicted.min(), predicted.max()], **REFERENCE)
    axes.set(box_aspect=1)
    number_log_axis(axes.xaxis)
    number_log_axis(axes.yaxis)


def unit_square(axes: Axes) -> None:
    """Give both axes the range from 0 to 1, and draw the line on which they are equal."""
    axes.plot([0, 1], [0, 1], **REFERENCE)
    axes.set(xlim=(0, 1), ylim=(0, 1), box_aspect=1)


def wilson(rate: float, count: int) -> np.ndarray:
    """Return the lengths (2, 1) of the bars of Wilson's 95 % interval of a rate (Brown et al., 2001).

    A training's first validation would take a second longer by the import of scipy.stats, which has it.
    """
    z = NormalDist().inv_cdf(0.975)
    center = (rate * count + z**2 / 2) / (count + z**2)
    half = z * math.sqrt(count * rate * (1 - rate) + z**2 / 4) / (count + z**2)
    return np.abs([[rate - center + half], [center + half - rate]])  # rounding may leave -1e-17


def _equal_parts(confidence: np.ndarray) -> list[np.ndarray]:
    """Return the indices of up to ten parts of at least 25 points, or of one part, from the lowest confidence up."""
    parts = min(BINS, max(1, len(confidence) // 25))
    return [part for part in np.array_split(np.argsort(confidence, kind="stable"), parts) if len(part)]


def _fraction_inside(distance: np.ndarray, level: float) -> float:
    """Return the fraction of Mahalanobis distances (P,) inside the ellipse of this probability; NaN for none."""
    return float((distance <= ellipse_radius(level)).mean()) if len(distance) else float("nan")
