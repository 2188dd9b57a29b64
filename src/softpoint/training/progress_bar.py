"""How far a training is: a bar on a terminal, elsewhere a line after each validation and each minute."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar, RichProgressBar
from pytorch_lightning.trainer.states import TrainerFn
from rich.console import Console

from softpoint.progress import shown, shows_bars, time_left
from softpoint.training.callbacks import fraction_of_time, minutes_of

_WIDE = 120  # characters of a terminal that has room for all columns
_MINUTE = 60.0  # seconds without a validation after which a line is printed


def progress_bar(leave: bool = False) -> ProgressBar:
    """Return the callback that shows on stdout how far a run is; `leave` keeps the bar of each epoch on a terminal."""
    return TerminalBar(leave=leave) if shows_bars(sys.stdout) else ProgressLines()


def epoch_text(trainer: Any) -> str:
    """Return the epoch that a run is in, of how many or with the minutes that are over, of how many."""
    text, minutes = f"epoch {trainer.current_epoch + 1}", minutes_of(trainer)
    if minutes is not None:
        return f"{text}, {(fraction_of_time(trainer) or 0.0) * minutes:.1f} of {minutes:g} min"
    return f"{text} of {trainer.max_epochs}" if (trainer.max_epochs or 0) > 0 else text


def fraction_done(trainer: Any) -> float | None:
    """Return the fraction of a run that is over, by its steps or its minutes; None for a run without an end."""
    steps, spent = trainer.estimated_stepping_batches, fraction_of_time(trainer)
    by_steps = trainer.global_step / steps if 0 < steps < math.inf else None
    parts = [part for part in (by_steps, spent) if part is not None]
    return min(1.0, max(parts)) if parts else None


class TerminalBar(RichProgressBar):
    """Lightning's bar, which shows the minutes where these end a run."""

    def _get_train_description(self, current_epoch: int) -> str:
        return epoch_text(self.trainer)

    def configure_columns(self, trainer: pl.Trainer) -> list[Any]:
        description, bar, batches, *times = super().configure_columns(trainer)
        if Console().width >= _WIDE:
            return [description, bar, batches, *times]
        bar.bar_width = 10  # with no times of the epoch, all is in one line of 80 characters
        return [description, bar, batches]

    def on_train_batch_end(self, trainer: pl.Trainer, *arguments: Any) -> None:
        super().on_train_batch_end(trainer, *arguments)
        if self.progress is not None and self.is_enabled and self.train_progress_bar_id is not None:
            self.progress.update(self.train_progress_bar_id, description=epoch_text(trainer))

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop_progress()  # before the table of the test is printed, which would begin in its line


class ProgressLines(ProgressBar):
    """Prints a line after each validation and each minute; within a long validation and the test, those of `shown`.

    A line has the epoch, the step, the loss of the last batch, the metric by which checkpoints are chosen and its
    best value, images per second of training, and the time that is left.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enabled = True
        self._evaluation = ExitStack()
        self._show: Any = None
        self._start = self._last = 0.0  # of the training, and the time of the last line
        self._fraction: float | None = None  # that was over at the start
        self._images, self._speed = 0, 0.0  # since the last line

    def disable(self) -> None:
        self.enabled = False

    def enable(self) -> None:
        self.enabled = True

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._start = self._last = time.monotonic()
        self._fraction, self._images = fraction_done(trainer), 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._images += len(batch["image"]) * trainer.world_size
        if time.monotonic() - self._last >= _MINUTE:
            self._measure_speed()
            self._print(trainer)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self._measure_speed()
            self._begin("validating", trainer.num_val_batches)

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, _: int = 0
    ) -> None:
        if not trainer.sanity_checking and self.enabled:
            self._show(batch_idx + 1)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._evaluation.close()
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._print(trainer)

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        self._begin("testing", trainer.num_test_batches)

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, _: int = 0
    ) -> None:
        if self.enabled:
            self._show(batch_idx + 1)

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        self._evaluation.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._evaluation.close()

    def _begin(self, description: str, batches: Sequence[float]) -> None:
        total = sum(batches)
        if self.enabled:
            self._show = self._evaluation.enter_context(shown(description, None if math.isinf(total) else int(total)))

    def _measure_speed(self) -> None:
        self._speed = self._images / max(time.monotonic() - self._last, 1e-9)

    def _print(self, trainer: Any) -> None:
        if self.enabled:
            print(", ".join([f"{epoch_text(trainer)}, {self._step(trainer)}", *self._values(trainer)]), flush=True)
        self._last, self._images = time.monotonic(), 0

    def _step(self, trainer: Any) -> str:
        """The step and of how many, which in a run of minutes is a guess from its speed."""
        done, step = fraction_done(trainer), trainer.global_step
        about = "about " * (minutes_of(trainer) is not None)
        return f"step {step:,} of {about}{round(step / done):,}" if done else f"step {step:,}"

    def _values(self, trainer: Any) -> list[str]:
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        texts = [f"loss {logged['train/loss']:.4g}"] if "train/loss" in logged else []
        for callback in trainer.checkpoint_callbacks:
            if (value := logged.get(callback.monitor)) is not None:
                earlier = callback.best_model_score  # of the validations before: checkpoints come after
                best = value if earlier is None else {"min": min, "max": max}[callback.mode](value, float(earlier))
                texts.append(f"{callback.monitor} {value:.4g} (best {best:.4g})")
        texts += [f"{self._speed:.3g} images/s"] if self._speed else []
        return [*texts, *self._left(trainer)]

    def _left(self, trainer: Any) -> list[str]:
        done = fraction_done(trainer)
        if done is None or self._fraction is None or done <= self._fraction:
            return []
        seconds = (time.monotonic() - self._start) * (1 - done) / (done - self._fraction)
        return [f"{time_left(seconds)} left"] if seconds > 0 else []
