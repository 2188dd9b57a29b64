"""An input that grows within a run: small while points are confused, larger once its pixels limit their errors."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from softpoint.training.callbacks import fraction_of_time

STEPS = 10  # between two looks at the errors, which are those of so many batches

_log = logging.getLogger(__name__)


class Growth(Callback):
    """Enlarges the input of a run of minutes, through the sizes that its data may grow to (`KeypointData.sizes`).

    A step of a small input costs little, and a network needs many steps to tell points apart; once it does, the error
    is that of the small input's pixels. The input grows when half of the training points are found to within `within`
    of its pixels, and the rest of the time holds `steps` steps of the larger one.
    """

    def __init__(self, within: float, steps: int) -> None:
        if not within > 0 or type(steps) is not int or steps < 1:
            raise ValueError(
                f"callbacks.growth.within={within} must be positive, and callbacks.growth.steps={steps} a whole number"
                " from 1 on; '~callbacks.growth' keeps the size of the input"
            )
        self.within, self.steps = within, steps
        self._errors: list[Tensor] = []  # of the batches since the last look
        self._taken, self._since = 0, 0.0  # steps of this size, and the fraction of the run before them

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._start(fraction_of_time(trainer) or 0.0)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        data, spent = trainer.datamodule, fraction_of_time(trainer)
        larger = getattr(data, "next_size", None)
        # Loaders hold some batches of the size before.
        if larger is None or spent is None or tuple(batch["image"].shape[-2:]) != data.size:
            return
        self._errors.append(pl_module.errors)
        self._taken += 1
        if self._taken % STEPS:
            return
        found = float(torch.cat(self._errors).nanmedian())
        self._errors.clear()
        step = (spent - self._since) / self._taken * math.prod(larger) / math.prod(data.size)
        if found <= self.within and 1 - spent >= self.steps * step:
            data.resize(larger)
            self._start(spent)
            words = (*larger, trainer.global_step, found)
            _log.info("input %dx%d from step %d on: half of the training points were within %.2f of its pixels", *words)

    def _start(self, spent: float) -> None:
        self._errors.clear()
        self._taken, self._since = 0, spent


def grows(trainer: Any) -> bool:
    """Return whether the input of a run of minutes may grow."""
    return any(isinstance(callback, Growth) for callback in trainer.callbacks)
