"""Cross-validates a training: python scripts/crossval.py data=mirror_mouse folds=5 seeds=[0]"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from softpoint.cli.hydra_app import launch
from softpoint.cli.hydra_errors import CONFIGS
from softpoint.cli.overrides import fold_words, train_words, whole_numbers
from softpoint.cli.runner import budget_of, carry_out, check_outcomes, check_trials, command_of, composed, gathered


def main(cfg: DictConfig) -> None:
    """Trains and evaluates every fold and seed, and writes one answer over all of them."""
    words, output, seeds = train_words(cfg), Path(cfg.output).resolve(), whole_numbers(cfg, "seeds")
    command, base = command_of("crossval", words), composed(words)
    splits = fold_words(base, words, cfg.folds)

    from softpoint.studies.folds import cross_validation
    from softpoint.studies.markdown import hardware, update_page
    from softpoint.studies.reports import write_cross_validation
    from softpoint.studies.runs import Trial

    trials = [
        Trial("", seed, fold, (*words, *split, f"seed={seed}"), output / f"seed{seed}" / f"fold{fold}")
        for seed in seeds
        for fold, split in enumerate(splits)
    ]
    check_trials(trials)
    outcomes = carry_out(trials, cfg.output)
    facts = {"command": command, "hardware": hardware(), "data": base.name, "budget": budget_of(base)}
    text = write_cross_validation(output, *cross_validation(outcomes, facts), base.name)
    print(f"\n{text}\n")
    print(f"written to {cfg.output}")
    check_outcomes(outcomes, cfg.output)
    if cfg.write_docs:
        update_page(CONFIGS.parent / "docs" / "results.md", f"crossval {base.name}", text)


def run(words: list[str]) -> None:
    """Run the command with the arguments `words`."""
    launch("crossval", main, gathered(words, "crossval"))
