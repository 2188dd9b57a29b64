"""An evaluation as tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table

from softpoint.evaluation.measures import QUANTILES

_SHOWN = ("epe", "median", "p95", "pck@0.05", "pck@0.1", "nme_box")
_MOST_GROUPS = 30


def metrics_tables(metrics: Mapping[str, Any]) -> Group:
    """What people read: the overall numbers with their intervals, then parts of the points."""
    tables = [_overall(metrics), _parts("keypoint", metrics["keypoints"])]
    if 1 < len(metrics["groups"]) <= _MOST_GROUPS:
        tables.append(_parts("group", metrics["groups"]))
    states = {name: metrics[name] for name in ("visible", "occluded") if metrics[name]["points"]}
    if len(states) > 1:
        tables.append(_parts("state", states))
    return Group(*tables, *metrics["noted"], *_said(metrics))


def comparison_tables(found: Mapping[str, Any]) -> Group:
    """Both models' numbers and their difference."""
    title = f"A - B on {found['points']} points of {found['images']} images; intervals resample {_units(found)}"
    table = Table(title=title)
    table.add_column("")
    for heading in ("A", "B", "A - B", "95 % interval", "P(A better)"):
        table.add_column(heading, justify="right")
    for name, entry in found["overall"].items():
        sure = f"{entry['p_a_better']:.3f}" if "p_a_better" in entry else "-"
        values = [_number(name, entry[key]) for key in ("a", "b")]
        table.add_row(name, *values, _number(name, entry["difference"], "+"), _ends(name, entry, "+"), sure)
    return Group(table, *_said(found))


def _overall(metrics: Mapping[str, Any]) -> Table:
    title = f"{metrics['points']} points of {metrics['subjects']} subjects in {metrics['images']} images"
    table = Table(title=f"{title}; intervals resample {_units(metrics)}")
    table.add_column("")
    for heading in ("value", "95 % interval"):
        table.add_column(heading, justify="right")
    for name, entry in metrics["overall"].items():
        table.add_row(name, _number(name, entry["value"]), _ends(name, entry))
    return table


def _parts(kind: str, entries: Mapping[str, Mapping[str, Any]]) -> Table:
    shown = [name for name in _SHOWN if any(name in entry for entry in entries.values())]
    table = Table()
    table.add_column(kind)
    for heading in ("points", *shown):
        table.add_column(heading, justify="right")
    for name, entry in entries.items():
        table.add_row(name, str(entry["points"]), *(_number(n, entry[n]) if n in entry else "-" for n in shown))
    return table


def _units(found: Mapping[str, Any]) -> str:
    return f"{found['resampled']['units']} {found['resampled']['unit']}"


def _number(name: str, value: float, sign: str = "") -> str:
    """A value with the decimals that its kind needs.

    >>> _number("epe", 12.3456), _number("pck@0.1", 0.98765), _number("nme_box", 0.012345)
    ('12.35', '0.988', '0.0123')
    """
    decimals = 2 if name in ("epe", *QUANTILES) else 4 if name.startswith("nme") else 3
    return f"{value:{sign}.{decimals}f}"


def _ends(name: str, entry: Mapping[str, Any], sign: str = "") -> str:
    return f"{_number(name, entry['low'], sign)} to {_number(name, entry['high'], sign)}" if "low" in entry else "-"


def _said(found: Mapping[str, Any]) -> list[str]:
    return [f"not measured: {name} ({why})" for name, why in _grouped(found["skipped"]).items()]


def _grouped(skipped: Mapping[str, str]) -> dict[str, str]:
    """The reasons, those that several share said once."""
    together: dict[str, list[str]] = {}
    for name, why in skipped.items():
        together.setdefault(why, []).append(name)
    return {", ".join(names): why for why, names in together.items()}
