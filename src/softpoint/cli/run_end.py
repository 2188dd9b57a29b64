"""The end of a run on the command line: what it has, whether its model is one to use, and how to go on."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from softpoint.cli.faults import warn_of_faults
from softpoint.cli.report import write_test_report
from softpoint.cli.resource_errors import CONTINUE, GREW
from softpoint.cli.shell import command, here
from softpoint.suggest import setting

if TYPE_CHECKING:
    from softpoint.evaluation import Results
    from softpoint.training.best import Best

# Set in the trainings of a study, which itself prints how to go on.
STUDY = "SOFTPOINT_STUDY"


def is_complete(cfg: DictConfig, folder: Path) -> bool:
    """Return whether a run was tested and has the files that are written after that."""
    from softpoint.evaluation.files import REPORT
    from softpoint.training.resume import finished_record

    if not (record := finished_record(folder / "checkpoints" / "best.ckpt")):
        return False
    reported = cfg.report and "metrics" in record and STUDY not in os.environ
    return all((folder / name).is_file() for name in ("model_card.md", *[REPORT] * bool(reported)))


def tell_end(cfg: DictConfig, trainer: Any, record: Mapping[str, Any]) -> None:
    """Print how a finished run ended; ValueError where it has no model to use."""
    from softpoint.inference.faults import find_useless

    print(f"this run is finished: it ended {record.get('end')}; a longer one: trainer.max_epochs=N, or minutes=N")
    _check_use(find_useless(record), cfg, trainer)


def tell_result(
    cfg: DictConfig, trainer: Any, record: Any, best: Best, warnings: Sequence[str], trusted: str
) -> Results | None:
    """Print how good the model of a tested run is and how to use it, write its report, and return the test's results.

    Raises ValueError where the test failed, and for a model of no use.
    """
    from softpoint.training.final_test import FinalTest

    report = FinalTest.of(trainer)
    if report.failure:
        raise ValueError(report.failure)
    if record.checkpoint is not None:
        warn_of_faults(record.checkpoint)
    if trainer.is_global_zero:
        print(f"best checkpoint, {best}: {here(best.path)}")
        if cfg.report and report.results is not None and STUDY not in os.environ:
            write_test_report(trainer, report, record.checkpoint, best.path, warnings, trusted)
        needs_boxes = bool(trainer.datamodule.crops) and not trainer.datamodule.scenes
        _tell_use(cfg, trainer, record, here(best.path), f"{' boxes=LABELS' * needs_boxes}{trusted}")
    return report.results if report.metrics else None


def _tell_use(cfg: DictConfig, trainer: Any, record: Any, best: str, more: str) -> None:
    """Print the command that uses the model at `best`, with the words of `more`; ValueError where it is of no use."""
    from softpoint.inference.faults import find_useless

    useless = find_useless(record.checkpoint.record if record.checkpoint else {})
    _check_use(useless, cfg, trainer)
    if not useless and under_trained(record.facts):
        steps, usual = record.facts["steps"], record.facts["usual_steps"]
        print(f"it may get better: it was trained for {steps:,} of about {usual:,} usual steps")
    verb = "try" if useless else "use"
    print(f"{verb} it: {command('predict')} {setting('ckpt', best)} source=IMAGE_OR_FOLDER{more}")


def _check_use(useless: str, cfg: DictConfig, trainer: Any) -> None:
    if useless and must_work(cfg, trainer):
        raise ValueError(f"no model to use: {useless} (must_work=false ends such a run without an error)")


def must_work(cfg: DictConfig, trainer: Any) -> bool:
    """Return whether a model that is not better than the mean position is an error: not in a try-out of a few batches.

    A sweep and a study go on with their next training.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if HydraConfig.get().mode == RunMode.MULTIRUN or STUDY in os.environ:
        return False
    limits = [cfg.trainer.get(f"limit_{split}_batches") for split in ("train", "val", "test")]
    tried_out = any(limit is not None for limit in limits) or bool(trainer.overfit_batches)
    return not tried_out if cfg.must_work is None else bool(cfg.must_work)


def under_trained(facts: Mapping[str, Any]) -> bool:
    """Return whether a run ended long before its usual number of steps, and still learned.

    >>> facts = {"steps": 100, "usual_steps": 2000, "end": "after all of its 2 epochs"}
    >>> under_trained(facts), under_trained({**facts, "steps": 1000})
    (True, False)
    """
    stalled = "without a better" in facts.get("end", "")
    return not stalled and facts.get("steps", 0) < facts.get("usual_steps", 0) / 5


@contextmanager
def telling_way_on(trainer: Any, trusted: str) -> Iterator[None]:
    """Print how to go on with a training that a signal ends within the block; not in a study. An error is told it."""
    from softpoint.training.ending import exit_on_signals

    try:
        with exit_on_signals():
            yield
    except SystemExit as stop:
        if trainer.is_global_zero and STUDY not in os.environ:
            print(way_on(trainer, stop.code, trusted))
        raise
    except Exception as error:
        tell_way_on(trainer, error)
        raise


def way_on(trainer: Any, code: Any, trusted: str) -> str:
    """Return where a run was stopped, and the commands that go on with it or finish what it has."""
    from softpoint.signals import SIGNALS
    from softpoint.training.best import best_checkpoint
    from softpoint.training.ending import REQUEUE
    from softpoint.training.resume import has_checkpoint

    names = SIGNALS | ({REQUEUE: "SLURM's USR1"} if REQUEUE else {})
    by = next((f" by {name}" for number, name in names.items() if code == 128 + number), "")
    lines = [f"stopped{by} after {trainer.global_step} steps"]
    if has_checkpoint(Path(trainer.default_root_dir)):
        lines.append(f"go on:  {_resume(trainer)}")
    if best := best_checkpoint(trainer):
        calibrate = f"{command('calibrate')} {setting('ckpt', here(best.path))}{trusted}"
        lines.append(f"or use its best epoch so far, {best}:  {calibrate}")
    return "\n".join(lines)


def tell_way_on(trainer: Any, error: Exception) -> None:
    """Add to an error that ends a training the command that goes on with it, where it has a checkpoint."""
    from softpoint.machine import memory_is_full
    from softpoint.training.growth import words_before
    from softpoint.training.resume import has_checkpoint

    if not has_checkpoint(Path(trainer.default_root_dir)):
        return
    error.add_note(f"{CONTINUE} {_resume(trainer)}")
    if memory_is_full(error) and (words := words_before(trainer)):
        height, width = trainer.datamodule.size
        error.add_note(
            f"{GREW} to {height}x{width}: keep the size before by {_resume(trainer)} {words}, or add"
            " trainer.accumulate=auto in its place"
        )


def _resume(trainer: Any) -> str:
    return f"{command('resume')} {shlex.quote(here(trainer.default_root_dir))}"
