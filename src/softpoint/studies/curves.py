"""Learning curves: the same training on more and more labels, or for longer, tested on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from softpoint.paths import write_json, write_text
from softpoint.studies.charts import curve_chart
from softpoint.studies.folds import SHOWN
from softpoint.studies.markdown import (
    failures,
    markdown_table,
    number,
    with_ends,
    write_table,
)
from softpoint.studies.runs import Outcome, values
from softpoint.studies.statistics import Interval, over_seeds
from softpoint.viz.figures import write_figure


@dataclass(frozen=True)
class Point:
    """One training on a curve: its `line`, and on how many images or groups or for how many minutes."""

    line: str
    size: int
    outcome: Outcome


class Words(NamedTuple):
    """How a curve is told: its title, how its trainings differ, and what its chart, axis and column are called."""

    title: str
    trained: str
    chart: str
    axis: str
    column: str


def words_of(unit: str) -> Words:
    """The words of a curve over so many of `unit`.

    >>> words_of("groups").axis, words_of("minutes").axis
    ('training groups', 'minutes of training')
    """
    if unit == "minutes":  # in curve.csv, minutes are those that a training took
        return Words("Minutes of training", "for so many minutes", "by time", "minutes of training", "budget")
    nested = f"on so many {unit}, of one seed the fewer always among the more"
    return Words("Learning curve", nested, "with few labels", f"training {unit}", unit)


def learning_curve(points: Sequence[Point], unit: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What curve.json holds: `facts`, and for each line what its trainings on so many of `unit` reached.

    The interval of `epe` is over the seeds, or by bootstrap over the test images where there is one seed.
    Raises ValueError where nothing was measured.
    """
    if all(point.outcome.failed for point in points):
        first = points[0].outcome
        raise ValueError(f"none of {len(points)} trainings came to an end; the first failed: {first.failed}")
    lines: dict[str, dict[str, Any]] = {}
    for line, size in dict.fromkeys((point.line, point.size) for point in points):
        here = [point.outcome for point in points if (point.line, point.size) == (line, size)]
        lines.setdefault(line, {})[str(size)] = _reached(here)
    return {**facts, "unit": unit, "lines": lines}


def _reached(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The scores of each seed, their means, and the mean EPE with its interval."""
    failed = [f"{one.trial.name}: {one.failed}" for one in outcomes if one.failed]
    metrics = {one.trial.seed: one.trial.metrics() for one in outcomes if not one.failed}
    minutes = {one.trial.seed: one.trial.minutes() for one in outcomes}
    if not metrics:
        return {"failed": failed, "epe": None, "means": {}, "seeds": {}}
    scores = {seed: values(found) for seed, found in metrics.items()}
    shared = [name for name in SHOWN if all(name in found for found in scores.values())]
    means = {name: fmean(found[name] for found in scores.values()) for name in shared}
    seeds = {str(seed): {**found, "minutes": minutes[seed]} for seed, found in scores.items()}
    epe = over_seeds([found["overall"]["epe"] for found in metrics.values()])
    return {"failed": failed, "epe": epe.to_dict(), "means": means, "seeds": seeds}


def write_curve(folder: Path, found: Mapping[str, Any]) -> str:
    """Writes curve.json, curve.csv (a row a training), curve.md and curve.png; what curve.md says."""
    text = describe(found)
    write_table(folder / "curve.csv", rows(found))
    words = words_of(found["unit"])
    title = f"{found['on']}: test error {words.chart}, 95 % intervals"
    write_figure(folder / "curve", curve_chart(found, title, words.axis))
    write_text(folder / "curve.md", text)
    write_json(folder / "curve.json", found)
    return text


def rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every training that was measured, as a row of curve.csv."""
    column = words_of(found["unit"]).column
    return [
        {"line": line, column: int(size), "seed": int(seed)} | scores
        for line, sizes in found["lines"].items()
        for size, reached in sizes.items()
        for seed, scores in reached["seeds"].items()
    ]


def describe(found: Mapping[str, Any]) -> str:
    """A learning curve as Markdown."""
    cells, several = [], len(found["lines"]) > 1
    for line, sizes in found["lines"].items():
        for size, reached in sizes.items():
            epe = with_ends(Interval.of(reached["epe"])) if reached["epe"] else "failed"
            rest = [number(reached["means"].get(name), digits) for name, digits in SHOWN.items() if name != "epe"]
            cells.append([*([line] if several else []), size, epe, *rest])
    header, words = [*(["line"] if several else []), found["unit"], *SHOWN], words_of(found["unit"])
    seeds = found["seeds"]
    source = "over the seeds" if len(seeds) > 1 else "by bootstrap over the test images"
    failed = [why for sizes in found["lines"].values() for reached in sizes.values() for why in reached["failed"]]
    lines = [
        f"### {words.title} on {found['on']}",
        "",
        f"Trained {words.trained}, and tested on the same images with every seed. "
        f"Seeds {', '.join(map(str, seeds))}; in brackets, 95 % intervals {source}.",
        "",
        markdown_table(header, cells),
        "",
        *failures(failed),
        f"`{found['command']}`, {found['budget']}, on {found['hardware']}.",
    ]
    return "\n".join(lines)
