"""Variants trained alike: what each reaches, and what it differs by from the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from softpoint.evaluation import compare, evaluate
from softpoint.studies.runs import Outcome, Trial, fraction_of, pooled, values
from softpoint.studies.statistics import Interval, mean_interval, over_seeds, paired_difference

Cells = Mapping[int, Sequence[Trial]]  # the trials of each seed
Measured = Mapping[int, Mapping[str, Any]]  # metrics.json of each seed


def comparison(
    outcomes: Sequence[Outcome],
    variants: Mapping[str, Sequence[str]],
    costs: Mapping[str, Mapping[str, float]],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """What compare.json holds of one data set: `facts`, then each of `variants` (name: overrides).

    A seed of a variant counts when all its folds were measured. `costs` of a variant are its "step" and "inference"
    times as multiples of the first's, and its "parameters".
    """
    cells = {variant: _cells(outcomes, variant) for variant in variants}
    measured = {v: {seed: _measured(trials) for seed, trials in cells[v].items()} for v in variants}
    first, alone, found = next(iter(variants)), len(facts["seeds"]) == 1, {}
    for variant, words in variants.items():
        failed = [_failure(o) for o in outcomes if o.failed and o.trial.variant == variant]
        entry = {"overrides": list(words), "seeds": {}, "failed": failed, "cost": dict(costs.get(variant, {}))}
        if measured[variant]:
            entry |= _scores(cells[variant], measured[variant], alone)
        one, other = ((cells[v], measured[v]) for v in (first, variant))
        if variant != first and (difference := _difference(one, other, alone)):
            entry["difference"] = difference.to_dict() | {"excludes_zero": difference.excludes_zero}
        found[variant] = entry
    return {**facts, "variants": found}


def _cells(outcomes: Sequence[Outcome], variant: str) -> dict[int, list[Trial]]:
    """The trials of each seed whose folds are all there."""
    mine = [outcome for outcome in outcomes if outcome.trial.variant == variant]
    broken = {outcome.trial.seed for outcome in mine if outcome.failed}
    seeds = sorted({outcome.trial.seed for outcome in mine} - broken)
    return {seed: [o.trial for o in mine if o.trial.seed == seed] for seed in seeds}


def _scores(cells: Cells, measured: Measured, alone: bool) -> dict[str, Any]:
    """What a variant reached: EPE with its interval, means over seeds, and every seed's own."""
    seeds = {str(seed): values(metrics) | _minutes(cells[seed]) for seed, metrics in measured.items()}
    entries = [metrics["overall"]["epe"] for metrics in measured.values()]
    # Of one seed that is left of several, nothing tells what another would give.
    epe = over_seeds(entries) if alone else mean_interval([entry["value"] for entry in entries])
    shared = [name for name in next(iter(seeds.values())) if all(name in scores for scores in seeds.values())]
    means = {name: fmean(scores[name] for scores in seeds.values()) for name in shared}
    return {"epe": epe.to_dict(), "means": means, "seeds": seeds}


def _measured(trials: Sequence[Trial]) -> dict[str, Any]:
    """metrics.json over the folds of one seed."""
    if len(trials) == 1:
        return trials[0].metrics()
    return evaluate(pooled(trials), fraction=fraction_of(trials))


def _minutes(trials: Sequence[Trial]) -> dict[str, float]:
    """What training them took together, under its name; nothing where that is not known of all."""
    known = [minutes for trial in trials if (minutes := trial.minutes()) is not None]
    return {"minutes": sum(known)} if len(known) == len(trials) else {}


def _difference(first: tuple[Cells, Measured], other: tuple[Cells, Measured], alone: bool) -> Interval | None:
    """EPE of `other` minus that of `first`: paired by seed, or by image where one alone was asked for."""
    (ours, before), (theirs, after) = first, other
    shared = sorted(ours.keys() & theirs.keys())
    if alone and shared:
        entry = compare(pooled(theirs[shared[0]]), pooled(ours[shared[0]]))["overall"]["epe"]
        return Interval(entry["difference"], entry.get("low"), entry.get("high"))
    return paired_difference(_epe(before), _epe(after))


def _epe(measured: Measured) -> dict[int, float]:
    return {seed: values(metrics)["epe"] for seed, metrics in measured.items()}


def _failure(outcome: Outcome) -> dict[str, Any]:
    return {"run": outcome.trial.name, "seed": outcome.trial.seed, "why": str(outcome.failed)}
