"""Cross-validates a training: python scripts/crossval.py data=mirror_mouse folds=5 seeds=[0]"""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig

from launch import CONFIGS, launch
from trainings import budget_of, carry_out, check_outcomes, command_of, composed, fold_words, gathered, train_words


def main(cfg: DictConfig) -> None:
    """Trains and evaluates every fold and seed, and writes one answer over all of them."""
    words, output = train_words(cfg), Path(cfg.output).resolve()
    command, base = command_of("crossval", words), composed(words)
    if cfg.folds < 2 or not cfg.seeds:
        raise ValueError(f"folds={cfg.folds} and seeds={list(cfg.seeds)}: give at least 2 folds and 1 seed")
    splits = [fold_words(base, fold, cfg.folds) for fold in range(cfg.folds)]

    from softpoint.evaluation.studies.folds import cross_validation, write_cross_validation
    from softpoint.evaluation.studies.pages import hardware, update_page
    from softpoint.evaluation.studies.trials import Trial

    trials = [
        Trial("", seed, fold, (*words, *split, f"seed={seed}"), output / f"seed{seed}" / f"fold{fold}")
        for seed in cfg.seeds
        for fold, split in enumerate(splits)
    ]
    outcomes = carry_out(trials)
    facts = {"command": command, "hardware": hardware(), "data": base.name, "budget": budget_of(base)}
    text = write_cross_validation(output, *cross_validation(outcomes, facts), base.name)
    if cfg.write_docs:
        update_page(CONFIGS.parent / "docs" / "results.md", f"crossval {base.name}", text)
    print(f"\n{text}\n")
    print(f"written to {cfg.output}")
    check_outcomes(outcomes)


if __name__ == "__main__":
    sys.argv[1:] = gathered(sys.argv[1:], "crossval")
    launch("crossval", main)
