"""Lightning's training loops with two more moments for callbacks: a step and an epoch of which nothing is left to do.

Lightning's own hooks come before the values of a step are logged, before a schedule follows a validation, and before
the loops count: a checkpoint of one of them lacks what its run did next.
"""

from __future__ import annotations

from typing import Any

from pytorch_lightning.loops.fit_loop import _FitLoop
from pytorch_lightning.loops.loop import _Loop
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop


def add_moments(trainer: Any) -> None:
    """Let the loops of a trainer call `on_step_done` and `on_epoch_done` of its callbacks, where they have them."""
    trainer.fit_loop.__class__, trainer.fit_loop.epoch_loop.__class__ = _Epochs, _Steps


class _Steps(_TrainingEpochLoop):
    """Calls `on_step_done` after each optimizer step but the last of an epoch, which the end of the epoch follows."""

    def advance(self, data_fetcher: Any) -> None:
        if self.restarted_on_last:  # of a step that was done, its validation included
            self.restarting = False
        super().advance(data_fetcher)

    def on_advance_end(self, data_fetcher: Any) -> None:
        super().on_advance_end(data_fetcher)
        if not self._should_accumulate() and not self._num_ready_batches_reached():
            _call(self.trainer, "on_step_done")


class _Epochs(_FitLoop):
    """Calls `on_epoch_done` after each epoch, and goes on with the next one where it was restored after an epoch."""

    @property
    def restarting(self) -> bool:
        return self._restarting

    @restarting.setter
    def restarting(self, restarting: bool) -> None:
        # Lightning's own also restarts a finished epoch where trainer.max_steps is set, and so counts an empty one.
        progress: Any = self.epoch_progress.current
        unfinished = {progress.ready, progress.started} != {progress.processed}
        _Loop.restarting.fset(self, restarting and unfinished)  # type: ignore[attr-defined]

    def on_advance_end(self) -> None:
        self._restarting = False  # or the schedule would not follow the validation of an epoch that was resumed within
        super().on_advance_end()
        _call(self.trainer, "on_epoch_done")


def _call(trainer: Any, moment: str) -> None:
    for callback in trainer.callbacks:
        if hook := getattr(callback, moment, None):
            hook(trainer, trainer.lightning_module)
