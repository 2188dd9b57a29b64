"""Learning curves: the same training on more and more labels, or for longer, tested on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from softpoint.metrics.columns import COLUMNS
from softpoint.studies.runs import Outcome, values
from softpoint.studies.statistics import over_seeds


@dataclass(frozen=True)
class Point:
    """One training on a curve: its `line`, and on how many images or groups or for how many minutes."""

    line: str
    size: int
    outcome: Outcome


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
    shared = [name for name in COLUMNS if all(name in found for found in scores.values())]
    means = {name: fmean(found[name] for found in scores.values()) for name in shared}
    seeds = {str(seed): {**found, "minutes": minutes[seed]} for seed, found in scores.items()}
    epe = over_seeds([found["overall"]["epe"] for found in metrics.values()])
    return {"failed": failed, "epe": epe.to_dict(), "means": means, "seeds": seeds}
