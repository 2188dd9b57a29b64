"""Cross-validation: every image tested once a seed, and one answer over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from softpoint.evaluation import evaluate
from softpoint.evaluation.results import Results
from softpoint.metrics.columns import COLUMNS
from softpoint.studies.runs import Outcome, fraction_of, pooled, values


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


def _run(outcome: Outcome) -> dict[str, Any]:
    """A row of folds.csv."""
    trial = outcome.trial
    row: dict[str, Any] = {"fold": trial.fold, "seed": trial.seed, "images": None, "points": None, "minutes": None}
    row |= {
        "epe": None,
        "epe_low": None,
        "epe_high": None,
        "failed": outcome.failed and outcome.failed.partition("\n")[0],
    }
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
        names = [name for name in COLUMNS if all(run.get(name) is not None for run in mine)]
        found[str(fold)] = {name: _mean_and_spread([run[name] for run in mine]) for name in names}
    return found


def _mean_and_spread(numbers: Sequence[float]) -> dict[str, float | None]:
    spread = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None
    return {"mean": float(np.mean(numbers)), "spread": spread}


def _why(outcomes: Sequence[Outcome]) -> str:
    return next((f"{o.trial.name}: {o.failed}" for o in outcomes if o.failed), "-")


def _failure(outcome: Outcome) -> dict[str, str]:
    return {"run": outcome.trial.name, "why": str(outcome.failed)}
