"""Tables of a demo's numbers on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from rich.console import Group

from softpoint.demo.analysis import MapAnalysis, Statistics
from softpoint.demo.attention import BRANCHES, SeededRun
from softpoint.demo.panels import MARKS
from softpoint.tables import NumberTable


def softmax_tables(analysis: MapAnalysis, name: str) -> Group:
    """Return the points, the statistics, and the spread of one map."""
    height, width = analysis.logits.shape
    points = NumberTable(
        "point", ["x (cells)", "y (cells)"], f"{name}, {height} x {width}, T = {analysis.temperature:g}"
    )
    for key, (label, *_) in MARKS.items():
        points.add_row(label, *(f"{value:.4f}" for value in getattr(analysis, key)))
    cells = NumberTable("over all cells", ["logits", "softmax"])
    for field in fields(Statistics):
        values = (getattr(part, field.name) for part in (analysis.logit_statistics, analysis.softmax_statistics))
        cells.add_row(field.name, *(f"{value:.6g}" for value in values))
    spread = NumberTable("of the softmax", ["value"])
    spread.add_row("entropy (bits)", f"{analysis.entropy:.4f}")
    spread.add_row(f"information of cell {analysis.cell} (bits)", f"{analysis.information:.4f}")
    for label, value in zip(("xx", "xy", "yy"), analysis.covariance[[0, 0, 1], [0, 1, 1]], strict=True):
        spread.add_row(f"covariance {label} (cells²)", f"{value:.4f}")
    return Group(points, cells, spread)


def temperature_table(analyses: Sequence[MapAnalysis], name: str) -> NumberTable:
    """Return a row per temperature: mean of the map, fit in the window, spread, entropy, and largest probability."""
    headings = ["mean x", "mean y", "fit x", "fit y", "std x", "std y", "entropy\n(bits)", "max"]
    table = NumberTable("T", headings, f"{name}: positions and standard deviations in cells")
    for analysis in analyses:
        positions = (*analysis.expectation, *analysis.fit, *analysis.std, analysis.entropy)
        table.add_row(f"{analysis.temperature:g}", *(f"{v:.2f}" for v in positions), f"{analysis.softmax.max():.2g}")
    return table


def attention_tables(run: SeededRun) -> Group:
    """Return the router weights of each sample, and mean and standard deviation of the mask at each temperature."""
    router = NumberTable("router weights", BRANCHES)
    for i, weights in enumerate(run.router_weights):
        router.add_row(f"sample {i}", *(f"{weight:.4f}" for weight in weights))
    masks = NumberTable("mask", ["mean", "std"])
    for temperature, (mean, std) in run.masks.items():
        masks.add_row(f"T = {temperature:g}", f"{mean:.5f}", f"{std:.5f}")
    return Group(router, masks)
