"""Summaries of studies: the metrics of all trainings pooled by fold, by variant, or by size of the training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from softpoint.evaluation import compare, evaluate
from softpoint.evaluation.results import Results
from softpoint.metrics.columns import COLUMNS
from softpoint.studies.runs import Outcome, Trial, fraction_of, pooled, values
from softpoint.studies.statistics import Interval, mean_interval, over_seeds, paired_difference

Trials = Mapping[int, Sequence[Trial]]  # the trials of each seed
Metrics = Mapping[int, Mapping[str, Any]]  # metrics.json of each seed


@dataclass(frozen=True)
class Point:
    """One training of a learning curve: its `line`, and its number of images, groups or minutes."""

    line: str
    size: int
    outcome: Outcome


def cross_validation(outcomes: Sequence[Outcome], facts: Mapping[str, Any]) -> tuple[dict[str, Any], Results]:
    """Return the content of crossval.json, and the predictions from which all of it can be recomputed.

    `facts` are the command, the hardware and the data. Raises ValueError where every fold failed, and where two folds
    of one seed tested the same image.
    """
    trials = [outcome.trial for outcome in outcomes if not outcome.failed]
    if not trials:
        failed = next((f"{o.trial.name}: {o.failed}" for o in outcomes if o.failed), "-")
        raise ValueError(f"none of {len(outcomes)} folds was trained and evaluated; the first failed: {failed}")
    seeds = sorted({trial.seed for trial in trials})
    by_seed = {seed: pooled([trial for trial in trials if trial.seed == seed]) for seed in seeds}
    together, fraction = Results.concat(list(by_seed.values())), fraction_of(trials)
    runs = [_run(outcome) for outcome in outcomes]
    minutes = [run["minutes"] for run in runs if run["minutes"] is not None]
    summary = {
        **evaluate(together, fraction=fraction, about={"confidence_fraction": fraction}),
        **facts,
        "minutes": sum(minutes) if minutes else None,
        "seeds": {
            str(seed): values(evaluate(results, draws=0, fraction=fraction)) for seed, results in by_seed.items()
        },
        "folds": _by_fold(runs),
        "runs": runs,
        "failed": [{"run": o.trial.name, "why": o.failed} for o in outcomes if o.failed],
    }
    return summary, together


def comparison(
    outcomes: Sequence[Outcome],
    variants: Mapping[str, Sequence[str]],
    costs: Mapping[str, Mapping[str, float]],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the JSON of a comparison on one data set: `facts`, then each of `variants` (name: overrides).

    A seed of a variant counts if all its folds were measured. `costs` of a variant are its "step" and "inference"
    times as multiples of the first's, and its "parameters".
    """
    trials = {variant: _complete_seeds(outcomes, variant) for variant in variants}
    metrics = {v: {seed: _pooled_metrics(folds) for seed, folds in trials[v].items()} for v in variants}
    first, single_seed, entries = next(iter(variants)), len(facts["seeds"]) == 1, {}
    for variant, overrides in variants.items():
        failed = [
            {"run": o.trial.name, "seed": o.trial.seed, "why": o.failed}
            for o in outcomes
            if o.failed and o.trial.variant == variant
        ]
        entry = {"overrides": list(overrides), "seeds": {}, "failed": failed, "cost": dict(costs.get(variant, {}))}
        if metrics[variant]:
            entry |= _scores(trials[variant], metrics[variant], single_seed)
        both = [(trials[v], metrics[v]) for v in (first, variant)]
        if variant != first and (difference := _difference(both[0], both[1], single_seed)):
            entry["difference"] = difference.to_dict() | {"excludes_zero": difference.excludes_zero}
        entries[variant] = entry
    return {**facts, "variants": entries}


def learning_curve(points: Sequence[Point], unit: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of curve.json: `facts`, and for each line its metrics at each number of `unit`.

    The interval of `epe` is over the seeds, or by bootstrap over the test images for one seed. Raises ValueError where
    every training failed.
    """
    if all(point.outcome.failed for point in points):
        failed = points[0].outcome.failed
        raise ValueError(f"none of {len(points)} trainings came to an end; the first failed: {failed}")
    lines: dict[str, dict[str, Any]] = {}
    for line, size in dict.fromkeys((point.line, point.size) for point in points):
        outcomes = [point.outcome for point in points if (point.line, point.size) == (line, size)]
        trials = {o.trial.seed: [o.trial] for o in outcomes if not o.failed}
        failed_runs = [f"{o.trial.name}: {o.failed}" for o in outcomes if o.failed]
        entry: dict[str, Any] = {"failed": failed_runs, "epe": None, "means": {}, "seeds": {}}
        if trials:
            metrics = {seed: of_seed[0].metrics() for seed, of_seed in trials.items()}
            entry |= _scores(trials, metrics, single_seed=len(outcomes) == 1)
        lines.setdefault(line, {})[str(size)] = entry
    return {**facts, "unit": unit, "lines": lines}


def _run(outcome: Outcome) -> dict[str, Any]:
    """Return a row of folds.csv."""
    trial = outcome.trial
    row: dict[str, Any] = {"fold": trial.fold, "seed": trial.seed, "images": None, "points": None, "minutes": None}
    row |= {"epe": None, "epe_low": None, "epe_high": None}
    row["failed"] = outcome.failed and outcome.failed.partition("\n")[0]
    if outcome.failed:
        return row
    metrics = trial.metrics()
    epe = metrics["overall"]["epe"]
    row |= {"images": metrics["images"], "points": metrics["points"], "minutes": trial.minutes()}
    return row | {"epe_low": epe.get("low"), "epe_high": epe.get("high")} | values(metrics)


def _by_fold(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean and standard deviation over the seeds of each metric of each fold."""
    folds: dict[str, Any] = {}
    for fold in sorted({run["fold"] for run in runs if not run["failed"]}):
        rows = [run for run in runs if run["fold"] == fold and not run["failed"]]
        names = [name for name in COLUMNS if all(row.get(name) is not None for row in rows)]
        of_metric = {name: [row[name] for row in rows] for name in names}
        folds[str(fold)] = {
            name: {"mean": fmean(numbers), "spread": stdev(numbers) if len(numbers) > 1 else None}
            for name, numbers in of_metric.items()
        }
    return folds


def _complete_seeds(outcomes: Sequence[Outcome], variant: str) -> dict[int, list[Trial]]:
    """Return the trials of each seed of a variant, of which no fold failed."""
    mine = [outcome for outcome in outcomes if outcome.trial.variant == variant]
    incomplete = {outcome.trial.seed for outcome in mine if outcome.failed}
    seeds = sorted({outcome.trial.seed for outcome in mine} - incomplete)
    return {seed: [o.trial for o in mine if o.trial.seed == seed] for seed in seeds}


def _pooled_metrics(trials: Sequence[Trial]) -> dict[str, Any]:
    """Return metrics.json over the folds of one seed."""
    if len(trials) == 1:
        return trials[0].metrics()
    return evaluate(pooled(trials), fraction=fraction_of(trials))


def _scores(trials: Trials, metrics: Metrics, single_seed: bool) -> dict[str, Any]:
    """Return EPE with its interval, the means of all metrics over the seeds, and the metrics of each seed.

    With `single_seed`, the interval is that of the test images. One seed that is left of several has none.
    """
    seeds = {}
    for seed, of_seed in metrics.items():
        minutes = [spent for trial in trials[seed] if (spent := trial.minutes()) is not None]
        complete = len(minutes) == len(trials[seed])
        seeds[str(seed)] = values(of_seed) | ({"minutes": sum(minutes)} if complete else {})
    entries = [of_seed["overall"]["epe"] for of_seed in metrics.values()]
    epe = over_seeds(entries) if single_seed else mean_interval([entry["value"] for entry in entries])
    shared = [name for name in next(iter(seeds.values())) if all(name in scores for scores in seeds.values())]
    means = {name: fmean(scores[name] for scores in seeds.values()) for name in shared}
    return {"epe": epe.to_dict(), "means": means, "seeds": seeds}


def _difference(first: tuple[Trials, Metrics], other: tuple[Trials, Metrics], single_seed: bool) -> Interval | None:
    """Return the EPE of `other` minus that of `first`: paired by seed, or by image with a single seed."""
    shared = sorted(first[0].keys() & other[0].keys())
    if single_seed and shared:
        seed = shared[0]
        entry = compare(pooled(other[0][seed]), pooled(first[0][seed]))["overall"]["epe"]
        return Interval(entry["difference"], entry.get("low"), entry.get("high"))
    before, after = ({seed: values(metrics)["epe"] for seed, metrics in side[1].items()} for side in (first, other))
    return paired_difference(before, after)
