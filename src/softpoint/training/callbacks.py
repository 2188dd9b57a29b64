"""Callbacks of a training: averaged weights, its duration, a frozen start."""

from __future__ import annotations

import logging
import math
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning import callbacks
from pytorch_lightning.callbacks import Callback, Timer, WeightAveraging
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from softpoint.inference.safe_load import read_torch_file

# Marks a best checkpoint that holds the last weights of a run in place of those of the lowest monitored value.
SELECTED = "selected"
_SCORES = ("best_model_score", "kth_value", "best_k_models")

_log = logging.getLogger(__name__)


class ExponentialAverage(WeightAveraging):
    """Validates, tests and saves an exponential moving average of the weights.

    After n steps the average keeps min(decay, (1 + n) / (10 + n)) of itself, so that short runs are not
    held back by their first weights. Source: TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"callbacks.ema.decay must be in [0, 1), got {decay}")
        super().__init__()
        self.decay = decay
        self._pairs: list[tuple[list[Tensor], list[Tensor]]] = []  # of each type, the averages and the present values
        self._steps = 0  # that are averaged

    @property
    def module(self) -> Any:
        """The module with the average of its weights, which is what is saved; from the start of training on."""
        assert self._average_model is not None
        return self._average_model.module

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Made before the module moved, the average would else cost every step a copy across.
        average = cast(AveragedModel, self._average_model).to(pl_module.device)
        self._steps = int(average.n_averaged)  # which a step could only read by waiting for the device
        by_type: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        tensors = (chain(module.parameters(), module.buffers()) for module in (self.module, pl_module))
        for mean, present in zip(*tensors, strict=True):
            for pair, tensor in zip(by_type.setdefault(mean.dtype, ([], [])), (mean, present), strict=True):
                pair.append(tensor.detach())
        self._pairs = [*by_type.values()]
        super().on_train_start(trainer, pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step > self._latest_update_step:
            self._update()
            self._latest_update_step = trainer.global_step

    def _update(self) -> None:
        """Move the average by a step, in a few operations and without a wait for the device."""
        keep = min(self.decay, (1 + self._steps) / (10 + self._steps)) if self._steps else 0.0
        for average, present in self._pairs:
            if average[0].is_floating_point():
                torch._foreach_lerp_(average, present, 1 - keep)
            else:  # counters, such as batches seen
                torch._foreach_copy_(average, present)
        self._steps += 1
        cast(AveragedModel, self._average_model).n_averaged += 1

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # Lightning restores the unaveraged weights even for a test; only training goes on from those.
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's, which a resumed run continues with the patience of its own config, and which ends no run twice."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class ModelCheckpoint(callbacks.ModelCheckpoint):
    """Lightning's, of which a resumed run knows its best checkpoint after a move or a copy of the run's folder too.

    It forgets a best checkpoint that is gone or damaged, so that the best of the epochs to come replaces it.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        def here(path: str) -> str:
            return str(Path(str(self.dirpath), Path(path).name)) if path else ""

        self.current_score = state_dict.get("current_score")  # which Lightning stores and does not restore
        best = here(state_dict["best_model_path"])
        if best == self.best_model_path:  # there is none, or a run that is over tests it, and knows more of it
            return
        if not best or (stored := _read(Path(best))) is None:
            return
        if stored.get(SELECTED):  # in place of the best that the state is of
            state_dict = state_dict | {key: stored["callbacks"][self.state_key][key] for key in _SCORES}
        moved = {key: here(state_dict[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
        kept = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": kept, "dirpath": self.dirpath})


def _read(path: Path) -> dict[str, Any] | None:
    """Return the content of a best checkpoint; None where it is gone or damaged."""
    if not path.is_file():
        return None
    try:
        stored: dict[str, Any] = read_torch_file(path)
    except ValueError as error:
        _log.warning("%s is damaged, and the best of the epochs to come replaces it: %s", path, error)
        return None
    return stored


class Duration(Timer):
    """Ends a run after `minutes`, or else after the Trainer's `max_epochs`, or else after the data's usual epochs.

    The last weights are validated, also where the minutes or the Trainer's `max_steps` end within an epoch. With
    minutes, schedules end when the time does (`KeypointModule.progress`), and a resumed run uses the rest of its time.

    Args:
        max_epochs: that of the Trainer; None, without minutes, takes `default_epochs` of the data.
        minutes: of training; None for a number of epochs.
    """

    def __init__(self, max_epochs: int | None, minutes: float | None) -> None:
        if minutes is not None and not (type(minutes) in (int, float) and 0 < minutes < math.inf):
            raise ValueError(f"minutes must be a positive number, got {minutes}; null trains for a number of epochs")
        super().__init__(None if minutes is None else timedelta(minutes=minutes), verbose=False)
        self.max_epochs, self.minutes = max_epochs, minutes
        self.spent: float | None = None  # fraction of the minutes; None without a limit

    def setup(self, trainer: Any, pl_module: pl.LightningModule, stage: str) -> None:
        data = trainer.datamodule
        if self._duration is not None:
            trainer.fit_loop.max_epochs = -1
            self.spent = 0.0
        elif self.max_epochs is None and stage == "fit" and data is not None and not trainer.fast_dev_run:
            trainer.fit_loop.max_epochs = data.default_epochs

    def on_train_batch_end(self, trainer: pl.Trainer, *arguments: Any) -> None:
        super().on_train_batch_end(trainer, *arguments)
        if 0 <= trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {} if self._duration is None else super().state_dict()

    def _check_time_remaining(self, trainer: pl.Trainer) -> None:
        assert self._duration is not None
        # One clock for all processes: with one each, their learning rates and then their weights would differ.
        self.spent = float(trainer.strategy.broadcast(self.time_elapsed() / self._duration))
        trainer.should_stop = trainer.should_stop or self.spent >= 1


def fraction_of_time(trainer: Any) -> float | None:
    """Fraction of a run's minutes that is over; None for a run that ends after a number of epochs."""
    return next((callback.spent for callback in trainer.callbacks if isinstance(callback, Duration)), None)


def minutes_of(trainer: Any) -> float | None:
    """Minutes after which a run ends; None for one that ends after a number of epochs."""
    return next((callback.minutes for callback in trainer.callbacks if isinstance(callback, Duration)), None)


class Freeze(Callback):
    """Keeps the backbone fixed, its batch statistics included, for the first `fraction` of a run.

    A step then costs a third, and a new head does not disturb weights that were trained on more images.
    """

    def __init__(self, fraction: float) -> None:
        if not 0 <= fraction < 1:
            raise ValueError(
                f"callbacks.freeze.fraction must be in [0, 1), got {fraction}; 0 trains all from the start"
            )
        self.fraction = fraction

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        settings = getattr(trainer.strategy, "_ddp_kwargs", {})
        if self.fraction and trainer.world_size > 1 and not settings.get("find_unused_parameters"):
            raise ValueError(
                "callbacks.freeze leaves parameters without a gradient for a while; with several processes use "
                "trainer.strategy=ddp_find_unused_parameters_true, or callbacks.freeze.fraction=0"
            )

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        if not self.fraction:
            return
        learns = pl_module.progress(trainer.global_step) >= self.fraction
        pl_module.net.backbone.requires_grad_(learns).train(learns)
