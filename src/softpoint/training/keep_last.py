"""The checkpoint from which a run goes on exactly as if it had not stopped."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_only

from softpoint.signals import leave_by
from softpoint.training.checkpoint_io import LAST, remove_unfinished, set_unused_aside
from softpoint.training.ending import handle_signals, leave
from softpoint.training.loops import add_moments
from softpoint.training.random_state import random_states, restore_random_state


class KeepLast(Checkpoint):
    """Writes last.ckpt after each epoch, every few minutes or steps, and after the step in which a signal arrives.

    The signal then ends the run by SystemExit; a second one ends it at once, as does one outside of the training loop
    (`exit_on_signals`). Of several processes all end after the same step. A step is one of the optimizer, so that no
    summed gradients are lost.

    Args:
        dirpath: folder of the checkpoints.
        minutes: of training that are lost at most; None for no limit.
        steps: that are lost at most; None for no limit.
    """

    monitor = None  # as of Lightning's own callback, which saves by a metric

    def __init__(self, dirpath: str | Path, minutes: float | None, steps: int | None) -> None:
        for key, value in (("minutes", minutes), ("steps", steps)):
            if value is not None and not (type(value) in (int, float) and 0 < value < math.inf):
                raise ValueError(f"checkpoint_every.{key}={value}: give a positive number, or null")
        self.path, self.minutes, self.steps = Path(dirpath, LAST), minutes, steps
        self.received = 0  # number of a signal
        self._saved = time.monotonic()
        self._random: list[dict[str, Any]] = []  # of a checkpoint

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if stage == "fit":
            add_moments(trainer)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        handle_signals(self._receive)  # until Lightning restores the handlers from before
        if trainer.is_global_zero:
            remove_unfinished(self.path.parent)
            set_unused_aside(self.path, trainer.ckpt_path)
        restore_random_state(trainer, self._random)
        self._saved = time.monotonic()

    def on_step_done(self, trainer: Any, pl_module: Any) -> None:
        received, due = self._agree(trainer, pl_module)
        if received or due:
            self._save(trainer)
        leave(received)

    def on_epoch_done(self, trainer: Any, pl_module: Any) -> None:
        self._save(trainer)
        leave(self._agree(trainer, pl_module)[0])

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        leave(self._agree(trainer, pl_module)[0])

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["random"] = random_states(trainer)

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self._random = checkpoint.get("random", [])

    def _save(self, trainer: Any) -> None:
        if trainer.fast_dev_run:
            return
        for logger in trainer.loggers:
            logger.save()  # or a curve would lack values before the checkpoint
        trainer.save_checkpoint(self.path)
        self._saved = time.monotonic()

    def _agree(self, trainer: Any, module: Any) -> tuple[int, bool]:
        """Return the signal that a process received, 0 without one, and whether to save; the same in every process."""
        late = self.minutes is not None and time.monotonic() - self._saved >= 60 * self.minutes
        due = late or (self.steps is not None and trainer.global_step % self.steps == 0)
        if trainer.world_size == 1:
            return self.received, due
        numbers = torch.tensor([self.received, due], device=module.device)
        received, due = trainer.strategy.reduce(numbers, reduce_op="max").tolist()
        return int(received), bool(due)

    def _receive(self, number: int, frame: Any) -> None:
        if self.received:
            leave_by(number)
        self.received = number
        if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            # Not by print, which cannot be entered again where the signal came within it.
            os.write(2, b"\nstopping: saving after this step or validation; a second signal ends at once\n")
