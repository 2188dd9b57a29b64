"""Evaluations and comparisons as tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group

from softpoint.metrics.columns import COLUMNS
from softpoint.tables import NumberTable

_MAX_GROUPS = 30


def metrics_tables(metrics: Mapping[str, Any]) -> Group:
    """Return tables of metrics.json: the overall metrics with their intervals, then those of parts of the points."""
    title = f"{metrics['points']} points of {metrics['subjects']} subjects in {metrics['images']} images"
    overall = NumberTable("", ["value", "95 % interval"], title)
    for name, entry in metrics["overall"].items():
        overall.add_row(_heading(name), COLUMNS[name].text(entry["value"]), _ends(name, entry))
    tables = [overall, _parts("keypoint", metrics["keypoints"])]
    if 1 < len(metrics["groups"]) <= _MAX_GROUPS:
        tables.append(_parts("group", metrics["groups"]))
    states = {name: metrics[name] for name in ("visible", "occluded") if metrics[name]["points"]}
    if len(states) > 1:
        tables.append(_parts("state", states))
    return Group(*tables, *metrics["notes"], *_skipped(metrics))


def comparison_tables(comparison: Mapping[str, Any]) -> Group:
    """Return the table of comparison.json: the metrics of both models and their differences."""
    title = f"A - B on {comparison['points']} points of {comparison['images']} images"
    table = NumberTable("", ["A", "B", "A - B", "95 % interval", "P(A\nbetter)"], title)
    for name, entry in comparison["overall"].items():
        a, b, difference = (
            COLUMNS[name].text(*value) for value in ((entry["a"],), (entry["b"],), (entry["difference"], "+"))
        )
        probability = f"{entry['p_a_better']:.3f}" if "p_a_better" in entry else "-"
        table.add_row(_heading(name), a, b, difference, _ends(name, entry, "+"), probability)
    return Group(table, *comparison["notes"], *_skipped(comparison))


def _parts(kind: str, entries: Mapping[str, Mapping[str, Any]]) -> NumberTable:
    """The brief columns of the metrics of each part."""
    names = [n for n, column in COLUMNS.items() if column.brief and any(n in entry for entry in entries.values())]
    table = NumberTable(kind, ["points", *map(_heading, names)])
    for part, entry in entries.items():
        values = [COLUMNS[name].text(entry[name]) if name in entry else "-" for name in names]
        table.add_row(part, str(entry["points"]), *values)
    return table


def _heading(name: str) -> str:
    """A metric's name and unit."""
    return f"{name} ({COLUMNS[name].unit})" if COLUMNS[name].unit else name


def _ends(name: str, entry: Mapping[str, Any], sign: str = "") -> str:
    column = COLUMNS[name]
    return f"{column.text(entry['low'], sign)} to {column.text(entry['high'], sign)}" if "low" in entry else "-"


def _skipped(content: Mapping[str, Any]) -> list[str]:
    """One line per reason, with the metrics that are not measured for it."""
    names: dict[str, list[str]] = {}
    for name, reason in content["skipped"].items():
        names.setdefault(reason, []).append(name)
    return [f"not measured: {', '.join(group)} ({reason})" for reason, group in names.items()]
