"""Summaries of studies: the metrics of all trainings pooled by fold, by variant, or by size of the training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np
from scipy import stats

from softpoint.evaluation import compare, evaluate
from softpoint.evaluation.intervals import DRAWS, Resamples
from softpoint.evaluation.regions import cross_validated_regions
from softpoint.evaluation.results import Results
from softpoint.evaluation.subjects import measure_subjects
from softpoint.metrics.columns import COLUMNS
from softpoint.studies.runs import Trial, fraction_of, pooled, pooled_subjects, values

Trials = Mapping[int, Sequence[Trial]]  # the trials of each seed
Metrics = Mapping[int, Mapping[str, Any]]  # metrics.json of each seed
Interval = dict[str, float | None]  # "value", "low" and "high", which are None where they cannot be estimated


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Return the mean with its interval by Student's t; without ends for a single value.

    >>> mean_interval([1.0, 2.0, 3.0])["low"]
    -0.4841...
    >>> mean_interval([2.0])
    {'value': 2.0, 'low': None, 'high': None}
    """
    mean = float(np.mean(values))
    if len(values) == 1:
        return {"value": mean, "low": None, "high": None}
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values))
    return {"value": mean, "low": mean - half, "high": mean + half}


def cross_validation(trials: Sequence[Trial], facts: Mapping[str, Any]) -> tuple[dict[str, Any], Results]:
    """Return the content of crossval.json, and the predictions from which all of it can be recomputed.

    `facts` are the command, the hardware and the data. Models that find subjects have their "finding" in all images,
    by the folds of the first seed. Raises ValueError where every fold failed, and where two folds
    of one seed tested the same image.
    """
    done, failed = [t for t in trials if not t.failed], [t for t in trials if t.failed]
    if not done:
        first = f"{failed[0].name}: {failed[0].failed}" if failed else "-"
        raise ValueError(f"none of {len(trials)} folds was trained and evaluated; the first failed: {first}")
    seeds = sorted({trial.seed for trial in done})
    by_seed = {seed: pooled([trial for trial in done if trial.seed == seed]) for seed in seeds}
    together, fraction = Results.concat(list(by_seed.values())), fraction_of(done)
    folds = np.concatenate(
        [np.full(len(trial.results()), trial.fold) for seed in seeds for trial in done if trial.seed == seed]
    )
    resamples = Resamples.of(together, DRAWS, seed=0)
    runs = [_run(trial) for trial in trials]
    minutes = [run["minutes"] for run in runs if run["minutes"] is not None]
    found = pooled_subjects(done)
    summary = {
        **evaluate(together, fraction=fraction, about={"confidence_fraction": fraction}),
        "regions": cross_validated_regions(together, folds, resamples) if together.labeled.any() else [],
        **({} if found is None else {"finding": measure_subjects(found)}),
        **facts,
        "minutes": sum(minutes) if minutes else None,
        "seeds": {
            str(seed): values(evaluate(results, draws=0, fraction=fraction)) for seed, results in by_seed.items()
        },
        "folds": _by_fold(runs),
        "runs": runs,
        "failed": [{"run": trial.name, "why": trial.failed} for trial in failed],
    }
    return summary, together


def comparison(
    trials: Sequence[Trial],
    variants: Mapping[str, Sequence[str]],
    costs: Mapping[str, Mapping[str, float]],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the JSON of a comparison on one data set: `facts`, then each of `variants` (name: overrides).

    A seed of a variant counts if all its folds were measured. `costs` of a variant are its "step" and "inference"
    times as multiples of the first's, and its "parameters".
    """
    done = {variant: _complete_seeds([t for t in trials if t.variant == variant]) for variant in variants}
    metrics = {v: {seed: _pooled_metrics(folds) for seed, folds in done[v].items()} for v in variants}
    first, single_seed, entries = next(iter(variants)), len(facts["seeds"]) == 1, {}
    for variant, overrides in variants.items():
        failed = [
            {"run": trial.name, "seed": trial.seed, "why": trial.failed}
            for trial in trials
            if trial.failed and trial.variant == variant
        ]
        cost = dict(costs.get(variant, {}))
        entry: dict[str, Any] = {"overrides": list(overrides), "seeds": {}, "failed": failed, "cost": cost}
        if metrics[variant]:
            entry |= _scores(done[variant], metrics[variant], single_seed)
        both = [(done[v], metrics[v]) for v in (first, variant)]
        if variant != first and (difference := _difference(both[0], both[1], single_seed)):
            low, high = difference["low"], difference["high"]
            excludes_zero = None if low is None or high is None else not low <= 0 <= high
            entry["difference"] = {**difference, "excludes_zero": excludes_zero}
        entries[variant] = entry
    return {**facts, "variants": entries}


def learning_curve(trials: Sequence[Trial], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of curve.json: `facts`, among them the "unit" of sizes, and each line's metrics at each size.

    The interval of `epe` is over the seeds, or by bootstrap over the test images for one seed. Raises ValueError where
    every training failed.
    """
    if all(trial.failed for trial in trials):
        raise ValueError(f"none of {len(trials)} training runs came to an end; the first failed: {trials[0].failed}")
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        assert trial.size is not None
        groups.setdefault((trial.variant, str(trial.size[0])), []).append(trial)
    lines: dict[str, dict[str, Any]] = {}
    for (line, size), of_size in groups.items():
        failed = [f"{trial.name}: {trial.failed}" for trial in of_size if trial.failed]
        entry: dict[str, Any] = {"failed": failed, "epe": None, "means": {}, "seeds": {}}
        if done := {trial.seed: [trial] for trial in of_size if not trial.failed}:
            metrics = {seed: of_seed[0].metrics() for seed, of_seed in done.items()}
            entry |= _scores(done, metrics, single_seed=len(of_size) == 1)
        lines.setdefault(line, {})[size] = entry
    return {**facts, "lines": lines}


def _run(trial: Trial) -> dict[str, Any]:
    """Return a row of folds.csv."""
    row: dict[str, Any] = {"fold": trial.fold, "seed": trial.seed, "images": None, "points": None, "minutes": None}
    row |= {"epe": None, "epe_low": None, "epe_high": None}
    row["failed"] = trial.failed and trial.failed.partition("\n")[0]
    if trial.failed:
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


def _complete_seeds(trials: Sequence[Trial]) -> dict[int, list[Trial]]:
    """Return the trials of each seed of a variant, of which no fold failed."""
    seeds = sorted({trial.seed for trial in trials} - {trial.seed for trial in trials if trial.failed})
    return {seed: [trial for trial in trials if trial.seed == seed] for seed in seeds}


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
    epe = _interval(entries[0]) if single_seed else mean_interval([entry["value"] for entry in entries])
    shared = [name for name in next(iter(seeds.values())) if all(name in scores for scores in seeds.values())]
    means = {name: fmean(scores[name] for scores in seeds.values()) for name in shared}
    return {"epe": epe, "means": means, "seeds": seeds}


def _difference(first: tuple[Trials, Metrics], other: tuple[Trials, Metrics], single_seed: bool) -> Interval | None:
    """Return the EPE of `other` minus that of `first`: paired by seed, or by image with a single seed."""
    shared = sorted(first[0].keys() & other[0].keys())
    if single_seed and shared:
        seed = shared[0]
        entry = compare(pooled(other[0][seed]), pooled(first[0][seed]))["overall"]["epe"]
        return _interval({**entry, "value": entry["difference"]})
    before, after = ([side[1][seed]["overall"]["epe"]["value"] for seed in shared] for side in (first, other))
    return mean_interval([b - a for a, b in zip(before, after, strict=True)]) if shared else None


def _interval(entry: Mapping[str, Any]) -> Interval:
    return {key: entry.get(key) for key in ("value", "low", "high")}
