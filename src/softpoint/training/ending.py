"""The end of a training: by its length, without improvement, or by a signal."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning.callbacks import EarlyStopping

from softpoint.machine import slurm_job
from softpoint.signals import SIGNALS, exit_on, handle, leave_by
from softpoint.training.best import Best, best_checkpoint
from softpoint.training.callbacks import Duration
from softpoint.training.pruning import is_pruned

# With which SLURM says that a job's time is over soon (sbatch --signal=USR1@90).
REQUEUE = getattr(signal, "SIGUSR1", None)


def handle_signals(handler: Callable[[int, Any], None]) -> dict[int, Any]:
    """Set the handler of the signals that end a training and return those from before."""
    return handle(handler, _numbers())


def exit_on_signals() -> AbstractContextManager[None]:
    """Let Ctrl-C and SIGTERM, and USR1 under SLURM, end the block by SystemExit of 128 plus the signal's number."""
    return exit_on(_numbers(), leave)


def _numbers() -> list[int]:
    return [*SIGNALS, *([REQUEUE] if REQUEUE and SLURMEnvironment.detect() else [])]


def leave(received: int) -> None:
    """End the command by SystemExit, where a signal was received; a job of SLURM is started again after USR1."""
    if received and received == REQUEUE:
        _requeue()
    if received:
        leave_by(received)


def usable_best(trainer: Any) -> Best:
    """Return the best checkpoint of a training that has ended.

    Raises ValueError for a training that diverged, and for one that saved no checkpoint.
    """
    best, error = best_checkpoint(trainer), trainer.callback_metrics.get("val/epe")
    if error is not None and not error.isfinite():
        kept = f"best.ckpt is of an epoch before, {best}, and untested" if best else "no epoch was better"
        raise ValueError(
            f"the training diverged: val/epe is {float(error)} after {trainer.global_step} steps, and {kept}; lower"
            " optimizer.lr, or find the step by trainer.detect_anomaly=true"
        )
    if best is None:
        raise ValueError(
            f"nothing to test: the run ended {reason_of_end(trainer)} before an epoch of it was validated and saved;"
            " let it train longer, and keep callbacks.checkpoint"
        )
    return best


def reason_of_end(trainer: Any) -> str:
    """Return why a training came to its end, as the end of a sentence."""
    for callback in trainer.callbacks:
        if isinstance(callback, EarlyStopping) and callback.wait_count >= callback.patience:
            return f"after {callback.wait_count} validations without a better {callback.monitor}"
        if isinstance(callback, Duration) and (callback.spent or 0.0) >= 1:
            return f"after its {callback.minutes:g} minutes"
    if is_pruned(trainer):
        return "early, being worse than the other trainings of its sweep"
    if 0 <= trainer.max_steps <= trainer.global_step:
        return f"after trainer.max_steps={trainer.max_steps}"
    if 0 <= (trainer.max_epochs or -1) <= trainer.current_epoch:
        return f"after all of its {trainer.max_epochs} epochs"
    return "early, by a callback"


def _requeue() -> None:
    """Ask SLURM to start this job again, once of all of its processes; its command then goes on with the run."""
    job = slurm_job() or ""
    if os.environ.get("SLURM_PROCID", "0") != "0":
        return
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
        failed = done.stderr.strip() if done.returncode else ""
    except (OSError, subprocess.SubprocessError) as error:
        failed = str(error)
    print(f"warning: SLURM did not requeue job {job}: {failed}" if failed else f"SLURM starts job {job} again")
