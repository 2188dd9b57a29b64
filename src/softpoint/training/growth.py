"""An input that grows within a run: small while points are confused, larger once its pixels limit their errors."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from softpoint.training.callbacks import fraction_of_time, minutes_of

STEPS = 10  # between two looks at the errors, which are those of so many batches

_log = logging.getLogger(__name__)


class Growth(Callback):
    """Enlarges the input of a run of minutes, through the sizes that its data may grow to (`KeypointData.sizes`).

    A step of a small input costs little, and a network needs many steps to tell points apart; once it does, the error
    is that of the small input's pixels. The input grows when half of the training points are found to within `within`
    of its pixels, and the rest of the run holds `steps` steps of the larger one.

    Args:
        within: pixels of the input.
        steps: of the larger input.
        plan: rows (fraction of the run, height, width) by which the input grows instead, as that of another run did;
            ValueError where its samples cannot.
    """

    def __init__(self, within: float, steps: int, plan: Sequence[Sequence[float]] | None = None) -> None:
        if not within > 0 or type(steps) is not int or steps < 1:
            raise ValueError(
                f"callbacks.growth.within={within} must be positive, and callbacks.growth.steps={steps} a whole number"
                " from 1 on; '~callbacks.growth' keeps the size of the input"
            )
        self.within, self.steps = within, steps
        self.plan = [(float(row[0]), (int(row[1]), int(row[2]))) for row in plan or () if len(row) == 3]
        if len(self.plan) < len(plan or ()) or sorted(self.plan) != self.plan:
            raise ValueError(f"callbacks.growth.plan={plan} is no list of rising [fraction of the run, height, width]")
        self.grown: list[tuple[float, tuple[int, int]]] = []  # what the input did so far
        self._errors: list[Tensor] = []  # of the batches since the last look
        self._taken, self._since = 0, 0.0  # batches of this size, and the fraction of the run before them

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        data = trainer.datamodule
        if stage != "fit" or not self.plan:
            return
        if not data.can_grow or fraction_of_time(trainer) is None:
            raise ValueError(
                "callbacks.growth.plan is for runs of minutes on images with labels, without data.device_cache and"
                " data.unlabeled_images"
            )
        data.sizes = (data.size, *(size for _, size in self.plan))

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._start(fraction_of_time(trainer) or 0.0)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        data, spent = trainer.datamodule, fraction_of_time(trainer)
        larger = getattr(data, "next_size", None)
        if larger is None or spent is None or growth_of(trainer) is None:
            return
        if tuple(batch["image"].shape[-2:]) != data.size:  # loaders hold some batches of the size before
            self._start(spent)
            return
        self._taken += 1
        wanted = self._is_due(larger, spent) if self.plan else self._are_found(pl_module.errors)
        if wanted and self._steps_left(trainer, spent, larger) >= (1 if self.plan else self.steps):
            data.resize(larger)
            self.grown.append((round(spent, 4), larger))
            self._start(spent)
            _log.info("after %d steps, the input grows to %dx%d", trainer.global_step, *larger)

    def state_dict(self) -> dict[str, Any]:
        return {"grown": self.grown}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.grown = list(state_dict["grown"])

    def _is_due(self, larger: tuple[int, int], spent: float) -> bool:
        """Return whether the plan has the larger size by now."""
        return any(spent >= fraction for fraction, size in self.plan if size == larger)

    def _are_found(self, errors: Tensor) -> bool:
        """Return whether half of the points of the last batches are found; False between two looks."""
        self._errors.append(errors)
        if self._taken % STEPS:
            return False
        found = float(torch.cat(self._errors).cpu().nanmedian())
        self._errors.clear()
        return found <= self.within

    def _steps_left(self, trainer: Any, spent: float, larger: tuple[int, int]) -> float:
        """Return the number of steps of a larger size that the run holds after the batches that are loaded."""
        data, parts = trainer.datamodule, trainer.accumulate_grad_batches
        batch = max(spent - self._since, 1e-12) / self._taken
        left = ((1 - spent) / batch - data.ahead) * math.prod(data.size) / math.prod(larger)
        if trainer.max_steps >= 0:
            left = min(left, (trainer.max_steps - trainer.global_step) * parts - data.ahead)
        return float(left / parts)

    def _start(self, spent: float) -> None:
        self._errors.clear()
        self._taken, self._since = 0, spent


def growth_of(trainer: Any) -> Growth | None:
    """Return the callback that lets the input of a run of minutes grow; None where it keeps its size."""
    # Several processes would each see errors of their own; overfitting draws batches without sizes.
    if minutes_of(trainer) is None or trainer.world_size > 1 or trainer.overfit_batches:
        return None
    return next((callback for callback in trainer.callbacks if isinstance(callback, Growth)), None)


def size_path(trainer: Any) -> list[list[float]]:
    """Return the (fraction of the run, height, width) of each size that an input had; empty where none can grow."""
    growth, sizes = growth_of(trainer), getattr(trainer.datamodule, "sizes", ())
    if growth is None or not sizes:
        return []
    return [[spent, *size] for spent, size in ((0.0, sizes[0]), *growth.grown)]


def words_before(trainer: Any) -> str:
    """Return the settings that keep the size from which the input of a run has grown; "" where it did not grow."""
    if len(path := size_path(trainer)) < 2:
        return ""
    (_, height, width), growth = path[-2], growth_of(trainer)
    return f"data.size=[{height},{width}]" + " callbacks.growth.plan=null" * bool(growth and growth.plan)
