"""The end of a sweep: its trainings in the order of their scores, as a table and a chart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from softpoint.metrics.columns import COLUMNS
from softpoint.paths import write_json
from softpoint.studies.markdown import write_table
from softpoint.tables import NumberTable
from softpoint.viz.figures import COLORS, REFERENCE, new_figure, number_log_axis, styled, write_figure

_FILE = Path(".hydra", "outcome.json")
_PANELS = 6  # at most, of a chart


@dataclass(frozen=True)
class Outcome:
    """The end of one training of a sweep: its score, or why it has none."""

    overrides: Sequence[str]
    score: float | None = None  # of its best epoch
    monitor: str = "val/epe"
    minutes: float = 0.0
    pruned: bool = False
    failed: str = ""

    def write(self, run: Path) -> None:
        """Write it into the folder of the training."""
        write_json(run / _FILE, asdict(self))

    @classmethod
    def read(cls, run: Path) -> Outcome | None:
        """Return that in the folder of a training; None without any."""
        path = run / _FILE
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    @property
    def values(self) -> dict[str, str]:
        """The overrides as values by key."""
        words = (word.lstrip("+").partition("=") for word in self.overrides)
        return {key: value for key, _, value in words if key != "resume"}


def read_outcomes(folder: Path) -> dict[str, Outcome]:
    """Return the outcomes of a sweep by the folder of each training below `folder`, the best score first."""
    runs = [path.parents[1] for path in folder.rglob(str(_FILE))]
    outcomes = {str(run.relative_to(folder)): outcome for run in runs if (outcome := Outcome.read(run))}
    return dict(sorted(outcomes.items(), key=lambda item: (_rank(item[1]), len(item[0]), item[0])))


def _rank(outcome: Outcome) -> float:
    if outcome.score is None:
        return float("inf")
    column = COLUMNS.get(outcome.monitor.partition("/")[2])
    return outcome.score if column is None or column.lower_is_better else -outcome.score


def swept(outcomes: Mapping[str, Outcome]) -> dict[str, list[str]]:
    """Return the keys whose values differ, with the value of each training.

    >>> swept({"0": Outcome(["a=1", "b=2"]), "1": Outcome(["a=1", "b=3", "+c=4"])})
    {'b': ['2', '3'], 'c': ['', '4']}
    """
    keys = dict.fromkeys(key for outcome in outcomes.values() for key in outcome.values)
    columns = {key: [outcome.values.get(key, "") for outcome in outcomes.values()] for key in keys}
    return {key: column for key, column in columns.items() if len(set(column)) > 1}


def ranking_table(outcomes: Mapping[str, Outcome]) -> NumberTable:
    """Return the trainings with the values that differ between them, the best one first."""
    monitor = next(iter(outcomes.values())).monitor
    table, columns = NumberTable("settings", [monitor, "minutes", "run"], "trainings of the sweep"), swept(outcomes)
    for i, (name, outcome) in enumerate(outcomes.items()):
        settings = " ".join(f"{key}={_short(column[i])}" for key, column in columns.items() if column[i])
        score = (
            "failed"
            if outcome.failed
            else "-"
            if outcome.score is None
            else f"{outcome.score:.3f}{' (pruned)' * outcome.pruned}"
        )
        table.add_row(settings or "-", score, f"{outcome.minutes:.1f}", name)
    return table


def write_ranking(folder: Path, outcomes: Mapping[str, Outcome]) -> None:
    """Write ranking.csv, and a chart of the scores against each value that differs as ranking.png and .svg."""
    columns, rows = swept(outcomes), []
    for i, (name, outcome) in enumerate(outcomes.items()):
        facts: dict[str, Any] = {"score": outcome.score, "minutes": round(outcome.minutes, 2), "pruned": outcome.pruned}
        values = {key: column[i] for key, column in columns.items()}
        rows.append({"run": name, "metric": outcome.monitor, **facts, **values, "failed": outcome.failed})
    write_table(folder / "ranking.csv", rows)
    if columns:
        write_figure(folder / "ranking", sweep_chart(outcomes))


@styled
def sweep_chart(outcomes: Mapping[str, Outcome]) -> Figure:
    """Return a chart with a panel for each swept key: a dot for each training that has a score, the best one filled."""
    scored = {name: outcome for name, outcome in outcomes.items() if outcome.score is not None}
    columns = dict([*swept(outcomes).items()][:_PANELS])
    wide = min(3, len(columns))
    rows = -(-len(columns) // wide)
    figure, panels = new_figure(wide, (1.5 + 3.2 * wide, 0.8 + 2.8 * rows), rows)
    scores = [outcome.score for outcome in scored.values()]
    pruned = [outcome.pruned for outcome in scored.values()]
    for axes, (key, column) in zip(panels, columns.items(), strict=False):
        _panel(axes, [value or "-" for value in column[: len(scored)]], scores, pruned)
        axes.set_xlabel(key)
    for axes in panels[len(columns) :]:
        axes.set_axis_off()
    monitor = next(iter(outcomes.values())).monitor
    for axes in panels[::wide]:
        axes.set_ylabel(f"{monitor}{' (px)' * (monitor == 'val/epe')}")
    best = f"best {scores[0]:.3f}" if scores else ""
    figure.suptitle(f"{len(scored)} trainings, {best}" + ", hollow: pruned" * any(pruned), x=0.01, ha="left", size=11)
    return figure


def _panel(axes: Axes, values: Sequence[str], scores: Sequence[Any], pruned: Sequence[bool]) -> None:
    """Draw scores against numbers, on a logarithmic axis where they span much, or against names."""
    numbers = _numbers(values)
    names = sorted(set(values))
    x = numbers or [float(names.index(value)) for value in values]
    for i, (at, score) in enumerate(zip(x, scores, strict=True)):
        color = COLORS[1] if i == 0 else COLORS[0]
        axes.plot(at, score, "o", color=color, mfc="none" if pruned[i] else color, zorder=4 if i == 0 else 3)
    if scores:
        axes.axhline(scores[0], **REFERENCE)
    if numbers and min(numbers) > 0 and max(numbers) > 20 * min(numbers):
        axes.set_xscale("log")
        number_log_axis(axes.xaxis)
    elif not numbers:
        tilted = max(map(len, names)) * len(names) > 30
        axes.set_xticks(range(len(names)), names, rotation=20 if tilted else 0, ha="right" if tilted else "center")
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.grid(False, axis="x")


def _short(value: str) -> str:
    """Return a value with four digits, if it is a number of more.

    >>> _short("0.004430375245218269"), _short("3"), _short("simcc")
    ('0.00443', '3', 'simcc')
    """
    numbers = _numbers([value])
    return f"{numbers[0]:.4g}" if numbers and len(value) > 7 else value


def _numbers(values: Sequence[str]) -> list[float]:
    """Return the values as numbers; an empty list where one is none."""
    try:
        return [float(value) for value in values]
    except ValueError:
        return []
