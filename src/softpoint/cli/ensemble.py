"""Several models as one: softpoint ensemble runs=[RUN,RUN,RUN], or seeds=[0,1,2] data=mirror_mouse"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from softpoint.cli.calibrate import fit_to_validation
from softpoint.cli.command_line import key_of
from softpoint.cli.overrides import split_arguments, split_overrides, train_overrides, whole_numbers
from softpoint.cli.report import typed_command
from softpoint.cli.run_folder import lock, lock_output
from softpoint.cli.shared_input import carried_out_alike
from softpoint.cli.shell import command, here
from softpoint.cli.study import check_failures, composed
from softpoint.cli.trust import own_packages
from softpoint.suggest import setting

if TYPE_CHECKING:
    from softpoint.inference import Checkpoint
    from softpoint.tables import NumberTable

arguments = partial(split_arguments, study="ensemble")

# Where the data of trained models is now.
_PLACES = ("data.labels", "data.images", "data.folder")
_SHOWN = ("epe", "median", "p95", "ece", "coverage_90")


def main(cfg: DictConfig) -> None:
    """Join trained models, or train and join new ones, calibrate and test the whole, and write it."""
    from softpoint.inference.predictor import check_device

    check_device(cfg.device)
    if (cfg.runs is None) == (cfg.seeds is None):
        raise ValueError("give trained models as runs=[RUN,RUN,RUN], or train new ones by seeds=[0,1,2] data=NAME")
    output = Path(cfg.output)
    if cfg.runs is None:
        from softpoint.training.ensemble import check_output

        check_output(output)
        lock(output)
        places, data = _train(cfg, output.resolve()), {}
    else:
        places = [str(run) for run in (cfg.runs if OmegaConf.is_list(cfg.runs) else [cfg.runs])]
        data = _places(cfg.train)
        lock_output(output)
    _join(cfg, output, places, data)


def _train(cfg: DictConfig, output: Path) -> list[str]:
    """Train a model with each seed, and return their folders."""
    from softpoint.studies.runs import Trial

    overrides, seeds = train_overrides(cfg.train), whole_numbers(cfg, "seeds")
    if len(seeds) < 2:
        raise ValueError(f"seeds={cfg.seeds} is of one model; give two or more as seeds=[0,1]")
    base = composed(overrides)
    split = [] if base.data.get("splits") else split_overrides(base, overrides, seeds[0])
    words = (*overrides, *split)
    trials = [Trial("", seed, None, (*words, f"seed={seed}"), output / f"seed{seed}") for seed in seeds]
    done = carried_out_alike(cfg, trials, base)
    check_failures(cfg, done)
    cfg.trust = [*dict.fromkeys([*(cfg.trust or []), *own_packages(base)])]
    return [str(trial.folder) for trial in done]


def _places(words: Sequence[str]) -> dict[str, Any]:
    """Return where the data is now, by the overrides behind runs=; ValueError for any other."""
    for word in words:
        if key_of(word) not in _PLACES:
            raise ValueError(
                f"{word}: runs= names models that are trained already; it takes {', '.join(_PLACES)} for where the"
                " labels and images are now, and seeds=[0,1,2] trains new ones"
            )
    overrides = OverridesParser.create().parse_overrides(list(words))
    return {override.key_or_group.removeprefix("data."): override.value() for override in overrides}


def _join(cfg: DictConfig, output: Path, places: Sequence[str], data: dict[str, Any]) -> None:
    """Write the ensemble of the models at `places`, whose images are where `data` says."""
    from softpoint.inference import read_checkpoint
    from softpoint.inference.regions import SETS, Regions
    from softpoint.studies.runs import tested_model, write_test
    from softpoint.tables import console
    from softpoint.training.cross_fit import cross_fitted
    from softpoint.training.ensemble import check_output, find_members, join, write_ensemble
    from softpoint.training.final_test import facts_of_test

    paths, crossval = find_members(places)
    path = check_output(output, paths)
    members = [read_checkpoint(member, cfg.trust) for member in paths]
    ensemble = join(members, path, folds=crossval is not None)
    facts: dict[str, Any] = {"command": typed_command("ensemble"), "finished": True}
    if crossval is not None:
        fit = cross_fitted(ensemble, crossval)
        ensemble.net.calibration.set(**fit.values)
        print(f"{fit}\nthat of single folds, and so rather cautious: the mean of several usually errs less")
        facts |= fit.facts
    elif holds(ensemble, "val"):
        sets = any(Regions.of(member.net.calibration, member.skeleton.names, SETS) for member in members)
        fitted = fit_to_validation(cfg, ensemble, data, sets)
        print(fitted)
        facts |= fitted.facts
    else:
        ways = f"{command('calibrate')} {setting('ckpt', here(path))} crossval=OUTPUT_OF_CROSSVAL"
        print(f"not calibrated, because its members hold no image out for validation: {ways}")
    if holds(ensemble, "test"):
        tested = tested_model(ensemble, cfg.device, data)
        metrics = write_test(ensemble, tested, output / "evaluation")
        facts |= facts_of_test(metrics, tested)
    write_ensemble(replace(ensemble, record={**ensemble.record, **facts}))
    console().print(_table(members, facts))
    print(f"written to {here(path)}\nmeasure it: {command('evaluate')} {setting('ckpt', here(path))}")


def holds(checkpoint: Checkpoint, split: str) -> bool:
    """Return whether a model has images of a split, as far as it knows them."""
    return checkpoint.splits is None or bool(checkpoint.splits.get(split))


def _table(members: Sequence[Checkpoint], facts: dict[str, Any]) -> NumberTable:
    """Return the metrics of each member and of the whole, each on its own test split."""
    from softpoint.inference.run_record import RunRecord
    from softpoint.metrics.columns import COLUMNS
    from softpoint.tables import NumberTable

    table = NumberTable("model", [*_SHOWN], "test split of each model")
    records = {f"member {i}": member.record for i, member in enumerate(members, 1)} | {"ensemble": facts}
    for name, record in records.items():
        metrics = RunRecord.parse(record).metrics
        if name == "ensemble":
            table.add_section()
        table.add_row(name, *(COLUMNS[key].text(metrics[key]) if key in metrics else "-" for key in _SHOWN))
    return table
