"""The figures of a report, each with a description for those who do not see it, and a caption."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from softpoint.colors import line_colors
from softpoint.evaluation import plots, reliability_plots
from softpoint.evaluation.results import Results, group_rows
from softpoint.evaluation.risk import describe_risk
from softpoint.report.svg import figure_colors, inline_svg
from softpoint.viz.figures import svg_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Plot(NamedTuple):
    """A figure, and the sentence below it."""

    svg: str
    caption: str


class Plots:
    """The figures of one page, whose ids differ, and their colors."""

    def __init__(self) -> None:
        self.colors: set[str] = set()
        self._count = 0

    def add(self, figure: Figure, label: str, caption: str) -> Plot:
        """Return a figure inlined; `label` says what it shows to those who do not see it."""
        self._count += 1
        text = svg_text(figure)
        self.colors |= figure_colors(text)
        return Plot(inline_svg(text, f"f{self._count}-", label), caption)


def curves(figures: Plots, results: Results) -> list[Plot]:
    """Return the error curve and PCK of each keypoint."""
    errors = results.errors[results.labeled]
    tenth, median, ninth = np.quantile(errors, [0.1, 0.5, 0.9])
    spread = f"10 % of the errors are below {tenth:.2f} px, half below {median:.2f} px, 90 % below {ninth:.2f} px"
    return [
        figures.add(
            plots.error_figure(results),
            f"Cumulative distribution of the errors of each keypoint: {spread}.",
            "The fraction of points with at most the error below, which is on a logarithmic axis.",
        ),
        figures.add(
            plots.pck_figure(results),
            "PCK of each keypoint against the distance, from 0 to 20 % of the subject's size.",
            "The fraction of points within a distance that grows with the subject; the area under it is auc.",
        ),
    ]


_BARS = "Dot: median. Bar: the middle half of the errors. Line: up to the 95th percentile."


def keypoint_plot(figures: Plots, results: Results) -> Plot:
    """Return the errors of each keypoint."""
    parts = _by_keypoint(results)
    figure = plots.parts_figure("Errors by keypoint", parts, line_colors(len(parts)))
    measured = {name: np.nanmedian(values) for name, values in parts.items() if np.isfinite(values).any()}
    worst = max(measured, key=lambda name: measured[name])
    label = f"Errors of each keypoint; the largest median is that of {worst}, {measured[worst]:.2f} px."
    return figures.add(figure, label, _BARS)


def group_plot(figures: Plots, results: Results) -> Plot:
    """Return the errors of each group of images."""
    parts = _by_group(results)
    return figures.add(plots.parts_figure("Errors by group", parts), f"Errors of {len(parts)} groups of images.", _BARS)


def _by_keypoint(results: Results) -> dict[str, np.ndarray]:
    errors = results.errors
    return {name: errors[:, k] for k, name in enumerate(results.skeleton.names)}


def _by_group(results: Results) -> dict[str, np.ndarray]:
    errors = results.errors
    return {group: errors[rows] for group, rows in sorted(group_rows(results.groups).items())}


def reliability(figures: Plots, results: Results, metrics: Mapping[str, Any], fraction: float) -> list[Plot]:
    """Return the figures of confidences and covariances."""
    values = {name: f"{entry['value']:.2f}" for name, entry in metrics["overall"].items()}
    inside = f"{values.get('coverage_50', '-')} of the errors are inside the 50 % ellipses"
    return [
        figures.add(
            reliability_plots.calibration_figure(results, fraction),
            f"Hit rate against confidence; the expected calibration error is {values.get('ece', '-')}.",
            "Equal parts of the points, sorted by confidence, with 95 % intervals; a calibrated model is on the line.",
        ),
        figures.add(
            reliability_plots.coverage_figure(results),
            f"Coverage of the ellipses; {inside}, {values.get('coverage_90', '-')} inside the 90 % ellipses.",
            "Above the line the ellipses are too large, below it too small.",
        ),
        figures.add(
            reliability_plots.quarter_figure(metrics["confidence_quarters"]),
            "Coverage of the 50 and 90 % ellipses in each quarter of the points by confidence, as in the table.",
            "Whether the ellipses are as right for unsure points, left, as for sure ones, right.",
        ),
        figures.add(
            reliability_plots.predicted_error_figure(results),
            f"Error against predicted error of each point; rank correlation {values.get('rank_correlation', '-')}.",
            "Root of the trace of the covariance, and the error that was made.",
        ),
    ]


def risk_plot(figures: Plots, risk: Mapping[str, Any]) -> Plot:
    """Return the rate of wrong points against the share of accepted ones."""
    return figures.add(
        reliability_plots.risk_figure(risk),
        f"Rate of points that are off by more than {risk['limit']} among the accepted ones; {describe_risk(risk)}.",
        "The lower the threshold of confidence, the farther right; the bound is of each threshold alone.",
    )


def model_plots(figures: Plots, models: Mapping[str, Results]) -> list[Plot]:
    """Return the figures of several models on the same points."""
    medians = ", ".join(f"{name} {np.nanmedian(results.errors):.2f} px" for name, results in models.items())
    return [
        figures.add(
            plots.models_error_figure(models),
            f"Cumulative distribution of the errors of each model; medians: {medians}.",
            "The fraction of points with at most the error below; a curve farther left is better.",
        ),
        figures.add(
            plots.models_pck_figure(models),
            "PCK of each model against the distance, from 0 to 20 % of the subject's size.",
            "The fraction of points within a distance that grows with the subject; a higher curve is better.",
        ),
    ]


def model_keypoint_plot(figures: Plots, models: Mapping[str, Results]) -> Plot:
    """Return the errors of each keypoint by each model."""
    return _model_parts(figures, "keypoint", {name: _by_keypoint(results) for name, results in models.items()})


def model_group_plot(figures: Plots, models: Mapping[str, Results]) -> Plot:
    """Return the errors of each group of images by each model."""
    return _model_parts(figures, "group", {name: _by_group(results) for name, results in models.items()})


def _model_parts(figures: Plots, kind: str, models: Mapping[str, Mapping[str, np.ndarray]]) -> Plot:
    figure = plots.models_parts_figure(kind, models)
    label = f"Mean error of each {kind} by each model, as in the tables."
    return figures.add(figure, label, "Mean errors on the same points; farther left is better.")
