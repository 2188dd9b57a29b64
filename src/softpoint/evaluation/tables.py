"""Tables of evaluations and comparisons as plain rows, which the console prints and the report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from softpoint.inference.regions import ELLIPSES, SETS
from softpoint.metrics.columns import COLUMNS

_STATES = ("visible", "occluded")
_KINDS = {ELLIPSES: "regions", SETS: "heatmap sets"}
# Rows about the sizes of regions.
_SIZES = {
    "area": ("mean area (px^2)", "{:.0f}"),
    "parts": ("mean number of parts", "{:.2f}"),
    "several": ("share of several parts", "{:.3f}"),
}


class Number(NamedTuple):
    """A number as a table shows it, and its exact value."""

    text: str
    value: float


Cell = Sequence[Number]  # one number, the two ends of an interval, or nothing


@dataclass(frozen=True)
class Table:
    """Rows of a name and a cell for each heading."""

    title: str
    names: str  # heading of the names
    headings: list[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]


def overall_table(metrics: Mapping[str, Any]) -> Table:
    """Return the overall metrics of metrics.json with their intervals."""
    title = f"{metrics['points']} points of {metrics['subjects']} subjects in {metrics['images']} images"
    rows = [
        (heading(name), [(_number(name, entry["value"]),), _ends(name, entry)])
        for name, entry in metrics["overall"].items()
    ]
    return Table(title, "", ["value", "95 % interval"], rows)


def parts_table(kind: str, entries: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the brief columns of the metrics of each part of the points: keypoint, group or state."""
    names = [n for n, column in COLUMNS.items() if column.brief and any(n in entry for entry in entries.values())]
    rows = [
        (part, [(_count(entry["points"]),), *((_number(n, entry[n]),) if n in entry else () for n in names)])
        for part, entry in entries.items()
    ]
    return Table("", kind, ["points", *map(heading, names)], rows)


def states_table(metrics: Mapping[str, Any]) -> Table | None:
    """Return the metrics of visible and of occluded points; None unless both are labeled."""
    states = {name: metrics[name] for name in _STATES if metrics[name]["points"]}
    return parts_table("state", states) if len(states) > 1 else None


def quarters_table(metrics: Mapping[str, Any], fraction: float) -> Table:
    """Return the reliability of each quarter of the points by confidence; `fraction` is what hits are within."""
    columns = {"confidence": "mean confidence", "hits": f"within {100 * fraction:g} %", "median": heading("median")}
    columns |= {name: name for name in ("coverage_50", "coverage_90")}
    rows = []
    for i, quarter in enumerate(metrics["confidence_quarters"]):
        values = [(Number(f"{quarter[name]:.{2 if name == 'median' else 3}f}", quarter[name]),) for name in columns]
        rows.append((_ordinal(i, len(metrics["confidence_quarters"])), [(_count(quarter["points"]),), *values]))
    return Table("", "confidence", ["points", *columns.values()], rows)


def regions_table(metrics: Mapping[str, Any], kind: str = ELLIPSES) -> Table | None:
    """Return the fraction of labels inside the conformal regions of each part of the points; None without regions."""
    levels = metrics.get(kind)
    if not levels:
        return None
    headings = [text for entry in levels for text in (f"{100 * entry['level']:g} % held", "95 % interval")]
    names = dict.fromkeys(name for entry in levels for name in entry.get("keypoints", ()))
    rows = [(name, [entry.get("keypoints", {}).get(name, {}) for entry in levels]) for name in names]
    quarters = max(len(entry.get("quarters", ())) for entry in levels)
    for i in range(quarters):
        name = f"confidence: quarter {_ordinal(i, quarters)}"
        rows.append((name, [entry["quarters"][i] if entry.get("quarters") else {} for entry in levels]))
    if any("groups" in entry for entry in levels):
        rows.append(("group with the fewest held", [_fewest(entry.get("groups", {})) for entry in levels]))
    rows += [("all points", [entry.get("overall", {}) for entry in levels])]
    rows += [("all of a subject at once", [entry.get("joint", {}) for entry in levels])]
    cells = [(name, [cell for share in shares for cell in _held(share)]) for name, shares in rows]
    for key, (name, text) in _SIZES.items():
        values = [(Number(text.format(entry[key]), entry[key]),) if key in entry else () for entry in levels]
        cells += [(name, [cell for value in values for cell in (value, ())])] * any(values)
    title = f"labels inside the {_KINDS[kind]}, fitted to hold this part of new ones whatever the errors are like"
    return Table(title, "keypoint", headings, cells)


def _fewest(groups: Mapping[str, float]) -> Mapping[str, float]:
    return {"coverage": min(groups.values())} if groups else {}


def _held(share: Mapping[str, float]) -> list[Cell]:
    if "coverage" not in share:
        return [(), ()]
    value, ends = share["coverage"], [share[end] for end in ("low", "high") if end in share]
    return [(Number(f"{value:.3f}", value),), [Number(f"{end:.3f}", end) for end in ends]]


def comparison_table(comparison: Mapping[str, Any], other: str = "B") -> Table:
    """Return the metrics of comparison.json: both models, called A and `other`, and their difference."""
    title = f"A - {other} on {comparison['points']} points of {comparison['images']} images"
    rows = [(heading(name), _difference(name, entry)) for name, entry in comparison["overall"].items()]
    return Table(title, "", _difference_headings(other), rows)


def compared_parts_table(kind: str, entries: Mapping[str, Mapping[str, Any]], other: str = "B") -> Table:
    """Return EPE of both models of comparison.json on each keypoint or group, and the difference."""
    rows = [
        (part, [(_count(entry["points"]),), *(_difference("epe", entry["epe"]) if "epe" in entry else [()] * 5)])
        for part, entry in entries.items()
    ]
    return Table(f"{heading('epe')} of each {kind}", kind, ["points", *_difference_headings(other)], rows)


def verdict(comparison: Mapping[str, Any], other: str = "B") -> str:
    """Return one sentence on which model of comparison.json has the smaller mean error, and how sure that is."""
    entry, resampled = comparison["overall"].get("epe"), comparison["resampled"]
    if entry is None:
        return "No labeled point is measured."
    difference, text = entry["difference"], COLUMNS["epe"].text
    better, unit = ("A" if difference < 0 else other), COLUMNS["epe"].unit
    images, units = f"{comparison['images']} images", f"{resampled['units']} {resampled['unit']}"
    place = images if resampled["unit"] == "images" else f"{images} of {units}"
    if "low" not in entry:
        return (
            f"The mean error of {better} is {text(abs(difference))} {unit} smaller on these {images};"
            f" {units} are too few to say so of others."
        )
    if entry["low"] <= 0 <= entry["high"]:
        span = f"{text(entry['low'], '+')} to {text(entry['high'], '+')}"
        return f"No difference is shown: A - {other} is {text(difference, '+')} {unit} (95 %: {span}) on {place}."
    low, high = sorted((abs(entry["low"]), abs(entry["high"])))
    sure = entry["p_a_better"] if better == "A" else 1 - entry["p_a_better"]
    probability = "above 0.999" if sure > 0.999 else f"{sure:.3f}"
    return (
        f"{better} is better by {text(abs(difference))} {unit} of mean error (95 %: {text(low)} to {text(high)})"
        f" on {place}; the probability that it is better is {probability}."
    )


def skipped_lines(content: Mapping[str, Any]) -> list[str]:
    """Return one line per reason, with the metrics that are not measured for it."""
    names: dict[str, list[str]] = {}
    for name, reason in content["skipped"].items():
        names.setdefault(reason, []).append(name)
    return [f"not measured: {', '.join(group)} ({reason})" for reason, group in names.items()]


def heading(name: str) -> str:
    """Return a metric's name and unit.

    >>> heading("epe"), heading("epe_mm"), heading("auc")
    ('epe (px)', 'epe (mm)', 'auc')
    """
    unit = COLUMNS[name].unit
    return f"{name.removesuffix(f'_{unit}')} ({unit})" if unit else name


def _difference_headings(other: str) -> list[str]:
    return ["A", other, f"A - {other}", "95 % interval", "P(A\nbetter)"]


def _difference(name: str, entry: Mapping[str, float]) -> list[Cell]:
    values = [(_number(name, entry[key], sign),) for key, sign in (("a", ""), ("b", ""), ("difference", "+"))]
    better = entry.get("p_a_better")
    probability = () if better is None else (Number(f"{better:.3f}", better),)
    return [*values, _ends(name, entry, "+"), probability]


def _number(name: str, value: float, sign: str = "") -> Number:
    return Number(COLUMNS[name].text(value, sign), value)


def _ordinal(i: int, count: int) -> str:
    return f"{i + 1}{', lowest' if i == 0 else ', highest' if i == count - 1 else ''}"


def _count(count: int) -> Number:
    return Number(str(count), count)


def _ends(name: str, entry: Mapping[str, Any], sign: str = "") -> Cell:
    return (_number(name, entry["low"], sign), _number(name, entry["high"], sign)) if "low" in entry else ()
