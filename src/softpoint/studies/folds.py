"""Cross-validation: every image tested once a seed, and one answer over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.evaluation import evaluate
from softpoint.evaluation.plots import reliability_figure
from softpoint.evaluation.results import Results
from softpoint.paths import write_json, write_text
from softpoint.studies.charts import fold_chart
from softpoint.studies.markdown import (
    failures,
    first_line,
    markdown_table,
    number,
    with_ends,
    write_table,
)
from softpoint.studies.runs import Outcome, fraction_of, pooled, values
from softpoint.studies.statistics import Interval
from softpoint.viz.figures import write_figure

# What tables show of the metrics, with digits after the point.
SHOWN = {"epe": 2, "median": 2, "p95": 2, "pck@0.05": 3, "pck@0.1": 3, "ece": 3, "coverage_90": 3}


def cross_validation(outcomes: Sequence[Outcome], facts: Mapping[str, Any]) -> tuple[dict[str, Any], Results]:
    """What crossval.json holds, and the predictions that all of it can be recomputed from.

    `facts` are said first: the command, the hardware, the data. Raises ValueError where no fold was measured, and
    where two folds of one seed tested the same image.
    """
    done = [outcome.trial for outcome in outcomes if not outcome.failed]
    if not done:
        raise ValueError(f"none of {len(outcomes)} folds was trained and evaluated; the first failed: {_why(outcomes)}")
    seeds = sorted({trial.seed for trial in done})
    of_seed = {seed: pooled([trial for trial in done if trial.seed == seed]) for seed in seeds}
    together, fraction = Results.concat(list(of_seed.values())), fraction_of(done)
    runs = [_run(outcome) for outcome in outcomes]
    minutes = [run["minutes"] for run in runs if run["minutes"] is not None]
    found = {
        **evaluate(together, fraction=fraction, about={"confidence_fraction": fraction}),
        **facts,
        "minutes": sum(minutes) if minutes else None,
        "seeds": {
            str(seed): values(evaluate(results, draws=0, fraction=fraction)) for seed, results in of_seed.items()
        },
        "folds": _by_fold(runs),
        "runs": runs,
        "failed": [_failure(outcome) for outcome in outcomes if outcome.failed],
    }
    return found, together


def write_cross_validation(folder: Path, found: Mapping[str, Any], together: Results, name: str) -> str:
    """Writes crossval.json, folds.csv, predictions.csv, crossval.md, and two images; what crossval.md says."""
    text = describe(found, name)
    write_table(folder / "folds.csv", found["runs"])
    together.write(folder / "predictions.csv")
    write_figure(folder / "crossval", fold_chart(found, name))
    write_figure(folder / "reliability", reliability_figure(together, found["confidence_fraction"]))
    write_text(folder / "crossval.md", text)
    write_json(folder / "crossval.json", found)
    return text


def describe(found: Mapping[str, Any], name: str) -> str:
    """A cross-validation as Markdown."""
    overall = found["overall"]
    rows = [
        _row(f"fold {fold}", {key: s["mean"] for key, s in stats.items()}) for fold, stats in found["folds"].items()
    ]
    pooled = {key: Interval.of(overall[key]) for key in SHOWN if overall.get(key) is not None}
    pool = ["all folds", *(with_ends(pooled.get(key), digits) for key, digits in SHOWN.items())]
    seeds = [_row(f"seed {seed}", found["seeds"][seed]) for seed in found["seeds"]] if len(found["seeds"]) > 1 else []
    spread = {fold: stats["epe"]["spread"] for fold, stats in found["folds"].items()}
    lines = [
        f"### Cross-validation on {name}",
        "",
        f"{found['images']} images, each tested once a seed by a model that never saw it; {len(found['folds'])} folds, "
        f"seed {' and '.join(found['seeds'])}. {_intervals(found)} Coverage is of the 90 % ellipses.",
        "",
        markdown_table(["", *SHOWN], [*rows, *seeds, pool]),
        "",
        *([_spreads(spread), ""] if len(found["seeds"]) > 1 else []),
        *failures([f"{f['run']}: {f['why']}" for f in found["failed"]]),
        f"`{found['command']}`, {found['budget']}, {number(found['minutes'], 1)} minutes of training in all, on "
        f"{found['hardware']}.",
    ]
    return "\n".join(lines)


def _run(outcome: Outcome) -> dict[str, Any]:
    """A row of folds.csv."""
    trial = outcome.trial
    row: dict[str, Any] = {"fold": trial.fold, "seed": trial.seed, "images": None, "points": None, "minutes": None}
    row |= {"epe": None, "epe_low": None, "epe_high": None, "failed": outcome.failed and first_line(outcome.failed)}
    if outcome.failed:
        return row
    metrics = trial.metrics()
    epe = metrics["overall"]["epe"]
    row |= {"images": metrics["images"], "points": metrics["points"], "minutes": trial.minutes()}
    return row | {"epe_low": epe.get("low"), "epe_high": epe.get("high")} | values(metrics)


def _by_fold(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds of each fold, by metric."""
    found: dict[str, Any] = {}
    for fold in sorted({run["fold"] for run in runs if not run["failed"]}):
        mine = [run for run in runs if run["fold"] == fold and not run["failed"]]
        names = [name for name in SHOWN if all(run.get(name) is not None for run in mine)]
        found[str(fold)] = {name: _mean_and_spread([run[name] for run in mine]) for name in names}
    return found


def _mean_and_spread(numbers: Sequence[float]) -> dict[str, float | None]:
    spread = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None
    return {"mean": float(np.mean(numbers)), "spread": spread}


def _row(name: str, found: Mapping[str, float]) -> list[str]:
    return [name, *(number(found.get(key), digits) for key, digits in SHOWN.items())]


def _intervals(found: Mapping[str, Any]) -> str:
    """Where the intervals come from, or why there are none."""
    if "low" in found["overall"]["epe"]:
        return f"In brackets, 95 % intervals by bootstrap over {found['resampled']['unit']}."
    return f"There are no intervals: {found['skipped'].get('intervals', 'too few images')}."


def _spreads(spread: Mapping[str, float | None]) -> str:
    told = ", ".join(f"fold {fold} {number(value)}" for fold, value in spread.items())
    return f"Standard deviation of EPE over the seeds: {told}."


def _why(outcomes: Sequence[Outcome]) -> str:
    return next((f"{o.trial.name}: {o.failed}" for o in outcomes if o.failed), "-")


def _failure(outcome: Outcome) -> dict[str, str]:
    return {"run": outcome.trial.name, "why": str(outcome.failed)}
