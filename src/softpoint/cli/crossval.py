"""Cross-validation: softpoint crossval data=mirror_mouse folds=5 seeds=[0]"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from softpoint.cli.hydra_app import launch
from softpoint.cli.overrides import fold_overrides, split_arguments, train_overrides, whole_numbers
from softpoint.cli.study import budget_of, carry_out, check_outcomes, check_trials, command_of, composed


def main(cfg: DictConfig) -> None:
    """Train and evaluate every fold and seed, and write one result over all of them."""
    overrides, seeds = train_overrides(cfg), whole_numbers(cfg, "seeds")
    base, output = composed(overrides), Path(cfg.output).resolve()
    splits, command = fold_overrides(base, overrides, cfg.folds), command_of("crossval", overrides)

    from softpoint.studies.markdown import hardware, update_page
    from softpoint.studies.reports import write_cross_validation
    from softpoint.studies.runs import Trial
    from softpoint.studies.summaries import cross_validation

    trials = [
        Trial("", seed, fold, (*overrides, *split, f"seed={seed}"), output / f"seed{seed}" / f"fold{fold}")
        for seed in seeds
        for fold, split in enumerate(splits)
    ]
    check_trials(trials)
    outcomes = carry_out(trials, cfg.output)
    facts = {"command": command, "hardware": hardware(), "data": base.name, "budget": budget_of(base)}
    text = write_cross_validation(output, *cross_validation(outcomes, facts), base.name)
    print(f"\n{text}\n\nwritten to {cfg.output}")
    check_outcomes(outcomes, cfg.output)
    if cfg.page:
        update_page(Path(cfg.page), f"crossval {base.name}", text)


def run(arguments: list[str]) -> None:
    """Run the command with these arguments."""
    launch("crossval", main, split_arguments(arguments, "crossval"))
