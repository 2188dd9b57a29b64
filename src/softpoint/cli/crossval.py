"""Cross-validation: softpoint crossval data=mirror_mouse folds=5 seeds=[0]"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from softpoint.cli.overrides import fold_overrides, split_arguments, train_overrides, whole_numbers
from softpoint.cli.shared_input import carried_out_alike
from softpoint.cli.study import carry_out, composed, facts_of

arguments = partial(split_arguments, study="crossval")


def main(cfg: DictConfig) -> None:
    """Train and evaluate every fold and seed, and write one result over all of them."""
    overrides, seeds = train_overrides(cfg.train), whole_numbers(cfg, "seeds")
    base, output = composed(overrides), Path(cfg.output).resolve()
    splits = fold_overrides(base, overrides, cfg.folds)

    from softpoint.cli.study_report import write_folds_page
    from softpoint.studies.reports import write_cross_validation
    from softpoint.studies.runs import Trial
    from softpoint.studies.summaries import cross_validation

    def report(trials: Sequence[Trial]) -> dict[str, str]:
        summary, results = cross_validation(trials, facts)
        text = write_cross_validation(output, summary, results, base.name)
        if base.report:
            write_folds_page(output, trials, summary, results)
        return {f"crossval {base.name}": text}

    facts = facts_of(base, overrides) | {"data": base.name}
    trials = [
        Trial("", seed, fold, (*overrides, *split, f"seed={seed}"), output / f"seed{seed}" / f"fold{fold}")
        for seed in seeds
        for fold, split in enumerate(splits)
    ]
    carry_out(cfg, trials, report, partial(carried_out_alike, base=base))
