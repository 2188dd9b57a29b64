"""The end of a training: by its length, without improvement, or by a signal."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping

from softpoint.training.calibrate import Best, best_checkpoint
from softpoint.training.callbacks import Duration
from softpoint.training.pruning import is_pruned

# Signals that end a run, and their names in messages.
SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the block by SystemExit, with 128 plus the signal's number as the exit code."""
    before = _handle_signals(_exit)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Interruption(Callback):
    """Ends a run after the step in which Ctrl-C or SIGTERM arrives, by SystemExit, with its position in last.ckpt.

    A second signal ends it at once, as does one outside of the training loop (`exit_on_signals`). Of several processes
    all end after the same step.
    """

    def __init__(self) -> None:
        self.received = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        _handle_signals(self._receive)  # until Lightning restores the handlers from before

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._exit_if_received(trainer, pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        # The end of an epoch is saved after its validation, and gradients that are still summed are not saved.
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if stepped and batch_idx + 1 < trainer.num_training_batches:
            self._exit_if_received(trainer, pl_module, save=True)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        self._exit_if_received(trainer, pl_module)

    def _receive(self, number: int, frame: Any) -> None:
        if self.received:
            _exit(number, frame)
        self.received = number

    def _exit_if_received(self, trainer: Any, module: Any, save: bool = False) -> None:
        received = self.received
        if trainer.world_size > 1:
            number = torch.tensor(received, device=module.device)
            received = int(trainer.strategy.reduce(number, reduce_op="max"))
        if received and save:
            trainer.save_checkpoint(Path(trainer.checkpoint_callback.dirpath) / "last.ckpt")
        if received:
            sys.exit(128 + received)


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


def _handle_signals(handler: Callable[[int, Any], None]) -> dict[int, Any]:
    """Set the handler of SIGNALS and return those from before; a thread beside the main one cannot."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, handler) for number in SIGNALS}


def _exit(number: int, frame: Any) -> None:
    sys.exit(128 + number)
