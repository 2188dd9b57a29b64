"""Curves of how a training runs, of its best epoch, and of each keypoint."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from softpoint.labels.skeleton import Skeleton
from softpoint.training.callbacks import ExponentialAverage

# With the epoch and the EPE of the test five, which TensorBoard's table of runs shows of all curves.
_BEST = ("epe", "nme", "pck@0.1")


class Monitor(Callback):
    """Logs, each `trainer.log_every_n_steps` optimizer steps, how a training runs.

    - `speed/images_per_s` of all processes, and `speed/waiting`, the share of the time in which this process waits for
      data; neither counts the time of validations.
    - `weights/gradient_norm` before clipping, and `weights/ema_distance`, that of the weights from their average over
      their own norm.
    - `temperature/...`, each learned temperature, by keypoint where it has one for each.
    """

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._mark = time.perf_counter()  # the end of the work before
        self._images, self._waited, self._elapsed = 0, 0.0, 0.0
        self._gradient_norm = torch.tensor(0.0)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._clear()

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._mark = time.perf_counter()

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._mark = time.perf_counter()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._waited += time.perf_counter() - self._mark

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if trainer.loggers and (trainer.global_step + 1) % max(1, trainer.log_every_n_steps) == 0:
            gradients = (parameter.grad for parameter in pl_module.parameters())
            self._gradient_norm = get_total_norm([gradient for gradient in gradients if gradient is not None])

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        now = time.perf_counter()
        self._images += len(batch["image"]) * trainer.world_size
        self._elapsed, self._mark = self._elapsed + now - self._mark, now
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if stepped and trainer.global_step % max(1, trainer.log_every_n_steps) == 0:
            self._log(trainer, pl_module)
            self._images, self._waited, self._elapsed = 0, 0.0, 0.0

    def _log(self, trainer: Any, module: Any) -> None:
        values = {"speed/images_per_s": self._images / self._elapsed, "speed/waiting": self._waited / self._elapsed}
        values["weights/gradient_norm"] = float(self._gradient_norm)
        average = next((c.module for c in trainer.callbacks if isinstance(c, ExponentialAverage)), None)
        if average is not None:
            values["weights/ema_distance"] = float(relative_distance(module.parameters(), average.parameters()))
        values |= temperatures(module.net, module.skeleton)
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step - 1)  # the step of Lightning's own curves


@torch.no_grad()
def relative_distance(weights: Iterable[Tensor], others: Iterable[Tensor]) -> Tensor:
    """Return the norm of the difference of all weights, over the norm of the first.

    >>> relative_distance([torch.tensor([3.0, 4.0])], [torch.tensor([3.0, 3.0])]).item()
    0.20000000298023224
    """
    first = list(weights)
    return get_total_norm([a - b for a, b in zip(first, others, strict=True)]) / get_total_norm(first)


def temperatures(net: nn.Module, skeleton: Skeleton) -> dict[str, float]:
    """Return each learned temperature of a network by its tag; a head may have one for each keypoint."""
    values: dict[str, float] = {}
    for place, module in net.named_modules():
        with torch.enable_grad():
            temperature = getattr(module, "temperature", None)
        if not isinstance(temperature, Tensor) or not temperature.requires_grad:
            continue
        tag, numbers = f"temperature/{place}", temperature.flatten().tolist()
        values |= (
            {tag: numbers[0]}
            if len(numbers) == 1
            else {f"{tag}/{name}": number for name, number in zip(skeleton.names, numbers, strict=True)}
        )
    return values


class BestEpoch:
    """The epoch of the best value of the metric by which checkpoints are chosen."""

    def __init__(self) -> None:
        self.value: float | None = None

    def update(self, trainer: Any) -> dict[str, float]:
        """Return the main metrics of the last validation as `best/...` if it is the best so far, else {}."""
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        for callback in trainer.checkpoint_callbacks:
            value = logged.get(callback.monitor, math.nan)
            if math.isfinite(value):
                sign = 1 if callback.mode == "min" else -1
                if self.value is not None and sign * value >= sign * self.value:
                    return {}
                self.value = value
                metrics = {f"best/{name}": logged[f"val/{name}"] for name in _BEST if f"val/{name}" in logged}
                return metrics | {"best/epoch": float(trainer.current_epoch)}
        return {}


def keypoint_entries(module: Any) -> dict[str, dict[str, float]]:
    """Return the number of points and the metrics of each keypoint in the last validation, as in metrics.json."""
    means, points = module.point_means.by_keypoint, module.point_means.points_by_keypoint.tolist()
    columns = {name: values.tolist() for name, values in means.items()}
    return {
        name: {"points": points[k]} | {c: values[k] for c, values in columns.items() if math.isfinite(values[k])}
        for k, name in enumerate(module.skeleton.names)
    }
