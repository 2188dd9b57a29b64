"""Figures of errors: their distribution over all points, by keypoint, by group, and of several models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from softpoint.colors import line_colors
from softpoint.evaluation.results import Results
from softpoint.inference.run_record import one_line
from softpoint.metrics.functional import nme
from softpoint.viz.figures import COLORS, new_figure, number_log_axis, styled

_SIZE = (5.2, 4)  # inches
_MAX_STEPS = 400  # of a curve
_MAX_NAMED, _COLORED = 8, 5
_MAX_GRAY = 100
MAX_PARTS = 30
_PX = "error (px of the original image)"
_STYLES = ("-", "--", "-.", ":")


@styled
def error_figure(results: Results) -> Figure:
    """Return the cumulative distribution of the errors, in px, of each keypoint and of all of them together.

    The axis is logarithmic, to show sub-pixel and gross errors alike, and holds 96 % of the errors. Of more than 8
    keypoints the 5 of largest mean error have a color, which is that of the keypoint in every figure.
    """
    figure, axes = _keypoint_curves(results, results.errors)
    _log_error_axis(axes, results.errors)
    axes.set(title="Errors of the keypoints", ylabel="fraction of points")
    return figure


@styled
def pck_figure(results: Results) -> Figure:
    """Return PCK, the fraction of points within a fraction of the subject's size, for all fractions up to 20 %."""
    figure, axes = _keypoint_curves(results, nme(results))
    _pck_axis(axes)
    return figure


@styled
def parts_figure(title: str, parts: Mapping[str, np.ndarray], colors: list[str] | None = None) -> Figure:
    """Return the errors of each part of the points: their median, middle half, and reach up to the 95th percentile.

    `parts` are errors by name, in px; of more than 30 parts those of largest median are drawn, the largest first.
    """
    shades = dict(zip(parts, colors or [COLORS[0]] * len(parts), strict=True))
    measured = {name: values[np.isfinite(values)] for name, values in parts.items()}
    names = [name for name in measured if len(measured[name])]
    if len(names) > MAX_PARTS:
        names = sorted(names, key=lambda name: -np.median(measured[name]))[:MAX_PARTS]
        title += f", the {MAX_PARTS} largest"
    figure, (axes,) = new_figure(size=(_SIZE[0], 1.1 + 0.26 * max(len(names), 2)))
    for row, name in enumerate(names):
        low, middle, high, end = np.quantile(measured[name], [0.25, 0.5, 0.75, 0.95]).clip(1e-3)
        axes.plot([low, end], [row, row], color=shades[name], lw=1)
        axes.plot([low, high], [row, row], color=shades[name], lw=5, alpha=0.6, solid_capstyle="butt")
        axes.plot(middle, row, "o", color=shades[name], ms=6)
    axes.set(title=title, xscale="log", xlabel=_PX, ylim=(max(len(names), 1) - 0.4, -0.6))
    axes.set_yticks(range(len(names)), [short(name) for name in names])
    axes.grid(False, axis="y")
    number_log_axis(axes.xaxis)
    return figure


@styled
def models_error_figure(models: Mapping[str, Results]) -> Figure:
    """Return the cumulative distribution of the errors of each model, on the same points."""
    figure, axes = _model_curves({name: results.errors for name, results in models.items()})
    _log_error_axis(axes, np.concatenate([results.errors for results in models.values()]))
    axes.set(title="Errors of the models", ylabel="fraction of points")
    return figure


@styled
def models_pck_figure(models: Mapping[str, Results]) -> Figure:
    """Return PCK of each model, on the same points, for all fractions of the subject's size up to 20 %."""
    figure, axes = _model_curves({name: nme(results) for name, results in models.items()})
    _pck_axis(axes)
    return figure


@styled
def models_parts_figure(kind: str, models: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Return the mean error of each part of the points, keypoint or group, by each model; of many the 30 largest.

    `models` are the errors of each part by each model, of the same labeled points.
    """
    named = [name for name, errors in next(iter(models.values())).items() if np.isfinite(errors).any()]
    means = {model: {name: np.nanmean(parts[name]) for name in named} for model, parts in models.items()}
    title = f"Mean error by {kind}"
    if len(named) > MAX_PARTS:
        named = sorted(named, key=lambda name: -max(reached[name] for reached in means.values()))[:MAX_PARTS]
        title += f", the {MAX_PARTS} largest"
    figure, (axes,) = new_figure(size=(_SIZE[0], 1.5 + 0.26 * max(len(named), 2)))
    for i, (model, reached) in enumerate(means.items()):
        rows = np.arange(len(named)) + (0.4 * i / (len(means) - 1) - 0.2 if len(means) > 1 else 0)
        values = [max(reached[name], 1e-3) for name in named]
        axes.plot(values, rows, "osD^v"[(i + i // 5) % 5], color=COLORS[i % 5], ms=5, label=model)
    axes.set(title=title, xscale="log", xlabel=_PX, ylim=(max(len(named), 1) - 0.4, -0.6))
    axes.set_yticks(range(len(named)), [short(name) for name in named])
    number_log_axis(axes.xaxis)
    figure.legend(loc="outside lower center", ncols=min(len(means), 5))
    return figure


def short(name: str, length: int = 26) -> str:
    """Return a name in one line of at most `length` letters, its middle left out.

    >>> short("nose"), short("left antenna of the second animal", 14)
    ('nose', 'left an…animal')
    """
    line = one_line(name, 1000)
    half = (length - 1) // 2
    return line if len(line) <= length else f"{line[: length - 1 - half]}…{line[-half:]}"


def _keypoint_curves(results: Results, values: np.ndarray) -> tuple[Figure, Axes]:
    """A curve for each keypoint of `values` (N, K), and one for all."""
    figure, (axes,) = new_figure(size=_SIZE)
    names = {k: name for k, name in enumerate(results.skeleton.names) if np.isfinite(values[:, k]).any()}
    worst_first = sorted(names, key=lambda k: -np.nanmean(results.errors[:, k]))
    colored = sorted(names if len(names) <= _MAX_NAMED else worst_first[:_COLORED])
    gray = [k for k in names if k not in colored]
    colors = line_colors(len(results.skeleton))
    for k in gray[:: -(-len(gray) // _MAX_GRAY) or 1]:
        _cumulative(axes, values[:, k], _MAX_STEPS // 4, color="0.58", lw=0.8)
    if gray:
        axes.plot([], [], color="0.58", lw=0.8, label=f"{len(gray)} other keypoints")
    for k in colored:
        _cumulative(axes, values[:, k], color=colors[k], label=short(names[k]), zorder=3)
    if len(names) > 1:
        _cumulative(axes, values, color="black", ls="--", label="all keypoints", zorder=4)
        figure.legend(loc="outside lower center", ncols=3)
    return figure, axes


def _model_curves(values: Mapping[str, np.ndarray]) -> tuple[Figure, Axes]:
    figure, (axes,) = new_figure(size=_SIZE)
    for i, (name, numbers) in enumerate(values.items()):
        style: dict[str, Any] = {"color": COLORS[i % 5], "ls": _STYLES[i % 4]}
        _cumulative(axes, numbers, label=name, **style)
    figure.legend(loc="outside lower center", ncols=5)
    return figure, axes


def _cumulative(axes: Axes, values: np.ndarray, steps: int = _MAX_STEPS, **style: Any) -> None:
    """Draw the cumulative distribution of the finite values; of many values, its steps at evenly spaced ranks."""
    ordered = np.sort(values[np.isfinite(values)])
    if len(ordered):
        ranks = np.unique(np.linspace(0, len(ordered) - 1, min(len(ordered), steps)).round().astype(int))
        x, y = np.r_[ordered[0], ordered[ranks]], np.r_[0, (ranks + 1) / len(ordered)]
        axes.plot(x, y, drawstyle="steps-post", **style)


def _log_error_axis(axes: Axes, errors: np.ndarray) -> None:
    finite = errors[np.isfinite(errors)]
    axes.set(xscale="log", ylim=(0, 1), xlabel=_PX)
    if len(finite):
        low, high = np.quantile(finite, [0.02, 0.98])
        axes.set_xlim(max(low, 1e-3), max(high, 2 * low, 2e-3))
    number_log_axis(axes.xaxis)


def _pck_axis(axes: Axes) -> None:
    axes.set(title="PCK", xlim=(0, 0.2), ylim=(0, 1), xlabel="distance as a fraction of the subject's size")
    axes.set(ylabel="fraction of points within", xticks=[0, 0.05, 0.1, 0.15, 0.2])
