"""The command `softpoint train`: train a keypoint model, test it, and print how to use it."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from softpoint.cli.build import build
from softpoint.cli.decisions import keep_decisions
from softpoint.cli.report import collected_warnings
from softpoint.cli.run_end import is_complete, tell_end, tell_result, telling_way_on
from softpoint.cli.run_folder import AUTO, restarted
from softpoint.cli.run_start import run_facts, tell_start, tell_transfer
from softpoint.cli.shown_settings import show_settings
from softpoint.cli.stored_run import absolute, keep_words, own_words, stored_words
from softpoint.cli.trainer import quiet_lightning
from softpoint.cli.trust import own_packages

# What it needs of all that takes seconds to import.
LIBRARIES = ("pytorch_lightning", "softpoint.training", "softpoint.training.dashboard")

if TYPE_CHECKING:
    from softpoint.evaluation import Results
    from softpoint.training.best import Best


def arguments(words: Sequence[str]) -> list[str]:
    """Return the command line, in which --from RUN stands for the settings of another run."""
    run = next((word.partition("=")[2] for word in words if word.startswith("--from=")), None)
    if run is None:
        return list(words)
    try:
        return stored_words(absolute(run), [word for word in words if not word.startswith("--from=")])
    except FileNotFoundError as error:
        sys.exit(f"error: {error}")


def main(cfg: DictConfig) -> float | None:
    """Run a training, or a job of a sweep, and return the val/epe of its best epoch, which sweeps minimize."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if HydraConfig.get().mode == RunMode.MULTIRUN:
        from softpoint.cli.sweep import run_job

        return run_job(cfg)
    return train(cfg)[0]


def train(cfg: DictConfig) -> tuple[float | None, Results | None]:
    """Run a training and return the score of its best epoch, val/epe, and on the first process the results of its test.

    Raises ValueError for a training that diverges, and SystemExit for one that Ctrl-C or SIGTERM ends; outside of a
    study, the commands that go on are printed before.
    """
    # Imported here, so that --help and a misspelled key need not wait for torch.
    from hydra.core.hydra_config import HydraConfig
    from pytorch_lightning.utilities import rank_zero_only

    from softpoint.training import Record
    from softpoint.training.best import stored_score
    from softpoint.training.ending import exit_on_signals
    from softpoint.training.initial_model import earlier_images, find_model, keep_start, known_held_out
    from softpoint.training.pruning import is_pruned
    from softpoint.training.resume import Resume, find_checkpoint, finished_record

    folder = Path(HydraConfig.get().runtime.output_dir)
    with exit_on_signals(), collected_warnings() as warnings:
        ckpt, stored = find_checkpoint(place) if (place := _place(cfg.resume, folder)) else (None, {})
        quiet_lightning(resumed=ckpt is not None)
        trust = _check(cfg, ckpt)
        initial = find_model(cfg.init) if cfg.init and not ckpt else None
        stated = copy.deepcopy(cfg)  # `keep_decisions` and `build` put values in the place of auto and of references
        keep_decisions(cfg, stored)
        module, data, trainer = build(cfg, initial, stored.get("hyper_parameters"))
        # Lightning takes it from the launcher when it is imported, also in processes that train apart.
        rank_zero_only.rank = trainer.global_rank  # type: ignore[attr-defined]
        known: dict[str, Any] = {}
        if initial:
            known["known_held_out"] = len(known_held_out(initial, data.sources))
            data.earlier_images = earlier_images(initial, data.sources)
        if budget := module.decisions.budget:
            known["time_budget"] = budget.facts
        keep = partial(_keep_config, folder, stated)
        record = Record({**run_facts(cfg, own_words(HydraConfig.get().overrides.task)), **known}, keep, trust)
        resumed = Resume(stored, module.hparams) if ckpt else None
        if resumed:
            keep_start(module.net.backbone, stored.get("record", {}))
        data.restore_size(stored.get(type(data).__qualname__, {}))
        trainer.callbacks += [record, *filter(None, [resumed])]
        trusted = ""
        if trainer.is_global_zero:
            show_settings(trainer, stated)
            trusted = tell_start(module, data, trainer, trust)
            if initial:
                tell_transfer(module, data, initial)
            if resumed:
                print(f"going on after {stored['global_step']} steps\n{resumed}".strip())
        if resumed and not resumed.changes and is_complete(cfg, folder):
            best_before = folder / "checkpoints" / "best.ckpt"
            if trainer.is_global_zero:
                tell_end(cfg, trainer, finished_record(best_before))
            return stored_score(best_before), None
        with telling_way_on(trainer, trusted):
            best = _fit_and_test(module, data, trainer, record, ckpt)
        if best is None or is_pruned(trainer):
            return best and best.score, None
        return best.score, tell_result(cfg, trainer, record, best, warnings, trusted)


def _check(cfg: DictConfig, ckpt: Path | None) -> list[str]:
    """Return the packages of the network's own classes; ValueError for settings or a checkpoint that cannot be used."""
    from softpoint.inference import read_checkpoint

    trust = own_packages(cfg)
    if ckpt:
        read_checkpoint(ckpt, trust)  # its message names the fault; Lightning's would not
    return trust


def _fit_and_test(module: Any, data: Any, trainer: Any, record: Any, ckpt: Path | None) -> Best | None:
    """Train, test the best checkpoint and return it; None for a try-out of a batch, and untested where it is pruned."""
    from softpoint.data.watched_loader import shared_with_workers
    from softpoint.training.ending import usable_best
    from softpoint.training.pruning import is_pruned
    from softpoint.training.ranks import expect_ranks

    expect_ranks(trainer)
    with shared_with_workers():
        trainer.fit(module, data, ckpt_path=ckpt, weights_only=True)
    if trainer.fast_dev_run:
        return None
    best = usable_best(trainer)
    if trainer.is_global_zero:
        print(f"training ended {record.facts['end']}, in {trainer.global_step} steps")
    if is_pruned(trainer):
        return best
    if not data.batches("test"):
        record.finish(trainer, module)
    else:
        trainer.test(module, data, ckpt_path=best.path, verbose=False, weights_only=True)
    return best


def _place(resume: str | None, folder: Path) -> Path | None:
    """Return the folder or the checkpoint of a run to go on with; None for a new run."""
    from softpoint.training.resume import has_checkpoint

    if has_checkpoint(folder) and (resume == AUTO or restarted()):
        return folder
    return Path(resume) if resume not in (None, AUTO) else None


def _keep_config(folder: Path, cfg: DictConfig) -> None:
    """Write the config of a run that goes on; Hydra writes that of a new one."""
    from hydra.core.hydra_config import HydraConfig

    if HydraConfig.get().output_subdir is None:
        keep_words(folder, cfg, HydraConfig.get().overrides.task)
