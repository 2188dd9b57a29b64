"""Charts of studies: errors of folds and variants and against the size of the training set, and of a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from softpoint.training.tuning import BatchSizes, Rates
from softpoint.viz.figures import COLORS, REFERENCE, new_figure, number_log_axis, styled

_EPE = "mean error (px of the original image)"


@styled
def fold_chart(summary: Mapping[str, Any], name: str) -> Figure:
    """Return a chart of the error of every fold and seed, beside that of all folds, with 95 % intervals."""
    folds, seeds = list(summary["folds"]), list(summary["seeds"])
    figure, (axes,) = new_figure(size=(max(6.0, 2.5 + len(folds) * max(0.7, 0.3 * len(seeds))), 4))
    for i, seed in enumerate(seeds):
        runs = [run for run in summary["runs"] if str(run["seed"]) == seed and run["epe"] is not None]
        shift = 0.0 if len(seeds) == 1 else 0.4 * i / (len(seeds) - 1) - 0.2
        x = [folds.index(str(run["fold"])) + shift for run in runs]
        entries = [{"value": run["epe"], "low": run["epe_low"], "high": run["epe_high"]} for run in runs]
        axes.errorbar(x, *_lengths(entries), color=COLORS[i % 5], fmt="o", capsize=3, label=f"seed {seed}")
    overall = summary["overall"]["epe"]
    axes.axhline(overall["value"], label="all folds", **REFERENCE)
    if overall.get("low") is not None:
        axes.axhspan(overall["low"], overall["high"], color="0.5", alpha=0.15, lw=0)
    axes.set(title=f"{name}: test error of each fold, 95 % intervals", ylabel=_EPE)
    axes.set(xlim=(-0.5, len(folds) - 0.5))
    axes.set_xticks(range(len(folds)), [f"fold {fold}" for fold in folds])
    axes.grid(False, axis="x")
    figure.legend(loc="outside right upper")
    return figure


@styled
def comparison_chart(summary: Mapping[str, Any]) -> Figure:
    """Return a chart of the error of every variant: the mean with its 95 % interval, and each seed."""
    variants = {name: entry for name, entry in summary["variants"].items() if "epe" in entry}
    figure, (axes,) = new_figure(size=(7, 1.5 + 0.4 * len(variants)))
    rows = np.arange(len(variants))
    value, lengths = _lengths([entry["epe"] for entry in variants.values()])
    axes.errorbar(value, rows, xerr=lengths, color=COLORS[0], fmt="o", capsize=3, label="mean, 95 % interval", zorder=3)
    for row, entry in zip(rows, variants.values(), strict=True):
        seeds = [scores["epe"] for scores in entry["seeds"].values()]
        label = "each seed" if row == 0 else None
        axes.plot(seeds, np.full(len(seeds), row + 0.25), "o", color=COLORS[1], ms=4, mfc="none", label=label)
    axes.axvline(value[0], **REFERENCE)
    axes.set(title=f"{summary['title']} on {summary['on']}", xlabel=_EPE, ylim=(len(variants) - 0.5, -0.5))
    axes.set_yticks(rows, list(variants))
    axes.grid(False, axis="y")
    figure.legend(loc="outside right upper")
    return figure


@styled
def curve_chart(summary: Mapping[str, Any], title: str, x_label: str) -> Figure:
    """Return a chart of the error against the number of labels or minutes, with 95 % intervals, on log axes."""
    figure, (axes,) = new_figure()
    sizes = sorted({int(size) for reached in summary["lines"].values() for size in reached})
    for i, (line, reached) in enumerate(summary["lines"].items()):
        entries = {int(size): point["epe"] for size, point in reached.items() if point["epe"]}
        if entries:
            value, (below, above) = _lengths(list(entries.values()))
            # A logarithmic axis has no room for an interval that reaches 0.
            low, high = np.maximum(value - np.nan_to_num(below), 0.2 * value), value + np.nan_to_num(above)
            style: dict[str, Any] = {"color": COLORS[i % 5], "ls": "-" if i < 5 else "-."}
            axes.plot(list(entries), value, marker="o", label=line, **style)
            axes.fill_between(list(entries), low, high, color=COLORS[i % 5], alpha=0.18, lw=0)
    axes.set(title=title, xlabel=x_label, ylabel=_EPE, xscale="log", yscale="log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xticks([], minor=True)
    number_log_axis(axes.yaxis)
    if len(summary["lines"]) > 1:
        figure.legend(loc="outside right upper")
    return figure


@styled
def tuning_chart(found: Rates | BatchSizes) -> Figure:
    """Return the chart of a search: the loss by learning rate, or the speed by batch size."""
    figure, (axes,) = new_figure()
    if isinstance(found, Rates):
        axes.plot(found.rate, found.loss, color=COLORS[0])
        axes.axvline(found.suggested, label=f"steepest fall, {found.suggested:.2g}", **REFERENCE)
        axes.set(xscale="log", xlabel="learning rate", ylabel="training loss, smoothed", title="learning rate")
        axes.xaxis.set_major_formatter("{x:g}")
    else:
        axes.plot(found.size, found.speed, marker="o", color=COLORS[0])
        axes.axvline(found.fastest, label=f"as fast as larger ones, {found.fastest}", **REFERENCE)
        axes.set(xscale="log", xlabel="batch size", ylabel="images per second", title="batch size", ylim=(0, None))
        axes.set_xticks(found.size, [str(size) for size in found.size])
        axes.set_xticks([], minor=True)
    figure.legend(loc="outside right upper")
    return figure


def _lengths(entries: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the values (N,) and the lengths (2, N) of their intervals below and above; NaN for no interval."""
    ends = [[entry["value"], entry.get("low"), entry.get("high")] for entry in entries]
    value, low, high = np.array(ends, float).reshape(-1, 3).T
    return value, np.stack([value - low, high - value])
