"""Figures of found subjects, from what metrics.json has under "finding"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from softpoint.evaluation.reliability_plots import unit_square, wilson
from softpoint.viz.figures import COLORS, REFERENCE, new_figure, styled

_PANEL = (4, 3.9)  # inches
_MAX_WRITTEN = 40  # pairs of counts up to which the number of images is written beside each


@styled
def precision_recall_figure(finding: Mapping[str, Any]) -> Figure:
    """Return precision against recall over all thresholds of the score, and a mark at the one that is set."""
    figure, (axes,) = new_figure(size=_PANEL)
    level, limit = finding["oks_level"], 100 * finding["distance_limit"]
    names = {"oks": f"OKS at least {level:g}", "distance": f"within {limit:g} % of the diagonal"}
    for color, line, (rule, name) in zip(COLORS, "-:", names.items(), strict=False):
        curve = [row for row in finding[rule]["curve"] if "precision" in row and "recall" in row]
        places = [row["recall"] for row in curve], [row["precision"] for row in curve]
        axes.plot(*places, color=color, label=name, ls=line, lw=2.2, clip_on=False)
        measured = finding[rule]["overall"]
        if "precision" in measured and "recall" in measured:
            place = measured["recall"]["value"], measured["precision"]["value"]
            axes.plot(*place, "o" if line == "-" else "+", color=color, ms=8, mew=2, clip_on=False, zorder=3)
    axes.set(xlim=(0, 1), ylim=(0, 1), box_aspect=1, xlabel="recall", ylabel="precision")
    axes.set_title(f"Marks: a score of {finding['threshold']:g} or more")
    figure.legend(loc="outside lower center", ncols=1)
    return figure


@styled
def score_figure(finding: Mapping[str, Any]) -> Figure:
    """Return the rate of right subjects in tenths of the score, with Wilson's 95 % intervals."""
    figure, (axes,) = new_figure(size=_PANEL)
    for row in finding["score"]["curve"]:
        ends = wilson(row["right"], row["found"])
        axes.errorbar(row["score"], row["right"], ends, color=COLORS[0], marker="o", capsize=3, clip_on=False)
    error = finding["score"]["ece"]["value"]
    axes.set(title=f"Calibration error {error:.3f}", xlabel="score", ylabel="fraction that is a labeled subject")
    unit_square(axes)
    return figure


@styled
def counts_figure(finding: Mapping[str, Any]) -> Figure:
    """Return in how many images so many subjects are found where so many are labeled, as areas of circles."""
    figure, (axes,) = new_figure(size=_PANEL)
    rows, most = finding["counts"], max(row["images"] for row in finding["counts"])
    end = max(max(row["labeled"], row["found"]) for row in rows) + 0.6
    axes.plot([-0.6, end], [-0.6, end], **REFERENCE)
    for row in rows:
        place, right = (row["labeled"], row["found"]), row["labeled"] == row["found"]
        size = 4 + 16 * np.sqrt(row["images"] / most)
        axes.plot(*place, "o", ms=size, mew=0, alpha=0.55, color=COLORS[0] if right else COLORS[1], clip_on=False)
        if len(rows) <= _MAX_WRITTEN:
            axes.annotate(str(row["images"]), place, (size / 2, size / 2), textcoords="offset points", fontsize=8)
    images = sum(row["images"] for row in rows)
    equal = sum(row["images"] for row in rows if row["labeled"] == row["found"])
    axes.set(title=f"As many as labeled: {equal} of {images} images", xlim=(-0.6, end), ylim=(-0.6, end), box_aspect=1)
    axes.set(xlabel="labeled subjects", ylabel="found subjects")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    return figure
