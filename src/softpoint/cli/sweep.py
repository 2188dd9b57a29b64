"""Trainings of a sweep, softpoint train -m: each keeps its outcome, and the ranking of all ends it."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from softpoint.cli.command_line import MISTAKES, CommandLine
from softpoint.cli.hydra_errors import explain
from softpoint.cli.processes import has_several, train_in_processes
from softpoint.cli.run_folder import AUTO, held, lock
from softpoint.cli.shell import command
from softpoint.cli.stored_run import own_words

if TYPE_CHECKING:
    from softpoint.studies.sweeps import Outcome


class Ranking(Callback):
    """Hydra's callback that ranks the trainings of a sweep at its end, and ends it with an error where some failed."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        if "TORCHELASTIC_RUN_ID" in os.environ:
            sys.exit("error: each process of torchrun would start the whole sweep; start it without torchrun")
        from softpoint.training.ending import exit_on_signals

        held.enter_context(exit_on_signals())
        held.push(partial(_tell_stopped, config.hydra))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        from softpoint.studies.sweeps import read_outcomes

        folder = Path(config.hydra.sweep.dir)
        outcomes = read_outcomes(folder)
        _rank(folder, outcomes)
        if failed := {name: outcome.failed for name, outcome in outcomes.items() if outcome.failed}:
            first, *others = dict.fromkeys(failed.values())
            if len(failed) == len(outcomes) and not others:
                sys.exit(f"error: {first}")
            reasons = "\n".join(f"  {folder / name}: {reason}" for name, reason in failed.items())
            sys.exit(f"error: {len(failed)} of {len(outcomes)} trainings failed:\n{reasons}")


def _rank(folder: Path, outcomes: Mapping[str, Outcome]) -> None:
    """Print and write the ranking of the trainings, where one has a score."""
    from softpoint.studies.sweeps import ranking_table, write_ranking
    from softpoint.suggest import setting
    from softpoint.tables import console

    best = next((name for name, outcome in outcomes.items() if outcome.score is not None), None)
    if best is not None:
        write_ranking(folder, outcomes)
        console().print(ranking_table(outcomes))
        print(f"ranking: {folder / 'ranking.csv'} and .png")
        kept = setting("ckpt", str(folder / best / "checkpoints" / "best.ckpt"))
        print(f"use the best: {command('predict')} {kept} source=IMAGE_OR_FOLDER", flush=True)


def _tell_stopped(running: DictConfig, _kind: Any, error: BaseException | None, _trace: Any) -> None:
    """Rank what a sweep has that a signal stopped, and print how to go on with it."""
    from softpoint.signals import SIGNALS
    from softpoint.studies.sweeps import read_outcomes
    from softpoint.suggest import setting

    if not isinstance(error, SystemExit) or error.code not in [128 + number for number in SIGNALS]:
        return
    folder = Path(running.sweep.dir)
    _rank(folder, outcomes := read_outcomes(folder))
    again = "" if "optuna" in running.sweeper._target_ else f"resume={AUTO} "
    words = f"{again}{setting('hydra.sweep.dir', str(folder))}"
    ended = f"{len(outcomes)} training{'s' * (len(outcomes) != 1)}"
    print(f"stopped with {ended} ended; the same command with {words} goes on with the sweep")


def run_job(cfg: DictConfig) -> float | None:
    """Train as the running job of a sweep and keep the outcome in its folder; return the score, None for a failure."""
    from softpoint.studies.sweeps import Outcome
    from softpoint.training.pruning import was_pruned

    running, start = HydraConfig.get(), time.monotonic()
    folder, words = Path(running.runtime.output_dir), list(running.overrides.task)
    score, failed = None, ""
    try:
        score = _score(cfg, folder)
    except Exception as error:
        if not isinstance(error, MISTAKES):
            traceback.print_exc()
        failed = explain(error, CommandLine("train", words)) or type(error).__name__
        print(f"training {running.job.num} failed: {failed}", flush=True)
    before = Outcome.read(folder)
    if before and score is not None and before.score == score and own_words(before.overrides) == own_words(words):
        return score  # of a training that had ended before this start, which has its minutes
    minutes = (time.monotonic() - start) / 60
    monitor = OmegaConf.select(cfg, "callbacks.checkpoint.monitor", default="val/epe")
    Outcome(words, score, monitor, minutes, score is not None and was_pruned(), failed).write(folder)
    return score


def _score(cfg: DictConfig, folder: Path) -> float | None:
    """Train, in several processes where the config asks for them, and return the score of the best epoch."""
    from softpoint.cli import train
    from softpoint.training.best import stored_score

    if not has_several(cfg):
        with ExitStack() as job:
            lock(folder, job)  # a process of a sweep that was killed may still train there
            return train.train(cfg)[0]
    train_in_processes(folder)
    return stored_score(folder / "checkpoints" / "best.ckpt")
