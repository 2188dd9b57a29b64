"""Cross-validation: softpoint crossval data=mirror_mouse folds=5 seeds=[0]"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from softpoint.cli.hydra_app import launch
from softpoint.cli.overrides import fold_overrides, split_arguments, train_overrides, whole_numbers
from softpoint.cli.study import carry_out, composed, facts_of, finish


def main(cfg: DictConfig) -> None:
    """Train and evaluate every fold and seed, and write one result over all of them."""
    overrides, seeds = train_overrides(cfg.train), whole_numbers(cfg, "seeds")
    base, output = composed(overrides), Path(cfg.output).resolve()
    splits = fold_overrides(base, overrides, cfg.folds)

    from softpoint.studies.reports import write_cross_validation
    from softpoint.studies.runs import Trial
    from softpoint.studies.summaries import cross_validation

    facts = facts_of(base, overrides) | {"data": base.name}
    trials = [
        Trial("", seed, fold, (*overrides, *split, f"seed={seed}"), output / f"seed{seed}" / f"fold{fold}")
        for seed in seeds
        for fold, split in enumerate(splits)
    ]
    trials = carry_out(trials, cfg.output)
    text = write_cross_validation(output, *cross_validation(trials, facts), base.name)
    finish(cfg, trials, {f"crossval {base.name}": text})


def run(arguments: list[str]) -> None:
    """Run the command with these arguments."""
    launch("crossval", main, split_arguments(arguments, "crossval"))
