"""Lightning's finders of a learning rate and of a batch size."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from pytorch_lightning.tuner import lr_finder
from pytorch_lightning.tuner.tuning import Tuner


class Rates(NamedTuple):
    """Learning rates that were tried in ascending order, a step each, and the smoothed loss after it.

    The first ones are left out: Lightning's mean starts there, far below the loss.
    """

    rate: list[float]
    loss: list[float]
    suggested: float  # where the loss falls most steeply

    @property
    def rows(self) -> list[list[str]]:
        """The cells of a table, with its header."""
        return [["lr", "loss"], *([f"{r:.4g}", f"{loss:.5g}"] for r, loss in zip(self.rate, self.loss, strict=True))]

    def __str__(self) -> str:
        good = "a good rate is from the first to a tenth of the second"
        if not self.setting:
            good = (
                "the second should be ten times the first, so trust neither: search with more steps, or a larger batch"
            )
        steepest = f"learning rate: the loss falls most steeply at {self.suggested:.2g}"
        return f"{steepest}, and is smallest at {self._lowest:.2g}; {good}"

    @property
    def _lowest(self) -> float:
        return min(zip(self.loss, self.rate, strict=True))[1]

    @property
    def setting(self) -> str:
        """The override of a training; empty where the loss tells of no rate."""
        return f"optimizer.lr={self.suggested:.2g}" if self._lowest >= 10 * self.suggested else ""


class BatchSizes(NamedTuple):
    """Batch sizes that memory holds, and how many images per second a training step takes with each."""

    size: list[int]
    speed: list[float]
    memory: list[float]  # of the device, in GB; 0 on a CPU

    @property
    def rows(self) -> list[list[str]]:
        """The cells of a table, with its header."""
        cells = zip(self.size, self.speed, self.memory, strict=True)
        return [["batch_size", "images_per_s", "memory_gb"], *([str(n), f"{s:.1f}", f"{m:.2f}"] for n, s, m in cells)]

    @property
    def fastest(self) -> int:
        """The smallest size that is within 5 % of the fastest one."""
        return next(n for n, speed in zip(self.size, self.speed, strict=True) if speed >= 0.95 * max(self.speed))

    def __str__(self) -> str:
        speed = self.speed[self.size.index(self.fastest)]
        fast = "the fastest" if self.fastest == max(self.size) else "as fast as larger ones"
        return (
            f"batch size: {max(self.size)} is the largest tried that fits, and {self.fastest} is {fast}, with"
            f" {speed:.1f} images/s; another batch size needs another learning rate"
        )

    @property
    def setting(self) -> str:
        """The override of a training."""
        return f"data.batch_size={self.fastest}"


def find_rate(trainer: Any, module: Any, data: Any, low: float, high: float, steps: int) -> Rates:
    """Return the losses of a training whose learning rate grows from `low` to `high` within so many steps.

    All parameters have the same rate. Raises ValueError for a range that is none, and where the loss tells nothing.
    """
    if not 0 < low < high or type(steps) is not int or steps < 20:
        raise ValueError(f"lr_min={low}, lr_max={high}, steps={steps}: give 0 < lr_min < lr_max, and at least 20 steps")
    # The finder has no setting for its bar, which would fill a log with lines: None is for none but on a terminal.
    with patch.object(lr_finder, "tqdm", partial(lr_finder.tqdm, disable=None)):  # type: ignore[attr-defined]
        finder: Any = Tuner(trainer).lr_find(
            module, datamodule=data, min_lr=low, max_lr=high, num_training=steps, update_attr=False
        )
    rate, loss = finder.results["lr"], finder.results["loss"]
    first = min(10, len(loss) // 4)
    suggested = finder.suggestion(skip_begin=first)
    if suggested is None:
        raise ValueError(
            f"no learning rate is found: the loss diverged within {len(loss)} steps from lr_min={low:g}; lower"
            " lr_min and lr_max"
        )
    return Rates([float(r) for r in rate[first:]], [float(value) for value in loss[first:]], float(suggested))


def find_batch_size(trainer: Any, module: Any, data: Any, largest: int, steps: int) -> BatchSizes:
    """Return the speed of training steps with batch sizes of 2, 4, 8, ... up to `largest`, or until memory ends."""
    if min(largest, steps) < 2:
        raise ValueError(f"largest={largest}, batch_steps={steps}: give numbers from 2 on")
    ends: dict[int, list[float]] = {}
    memory: dict[int, float] = {}

    def on_train_batch_end(outputs: Any, batch: Any, batch_idx: int) -> None:
        outputs["loss"].item()  # waits for the device
        size = len(batch["image"])
        ends.setdefault(size, []).append(time.perf_counter())
        on_gpu = module.device.type == "cuda"
        memory[size] = torch.cuda.max_memory_allocated(module.device) / 1e9 if on_gpu else 0.0

    data.batch_size = 2  # also of the loader that the schedule asks for its length, which the finder would keep
    module.on_train_batch_end = on_train_batch_end  # the finder takes all callbacks away
    found = Tuner(trainer).scale_batch_size(
        module, datamodule=data, steps_per_trial=steps, init_val=2, max_val=largest + 1, max_trials=25
    )
    # A size that memory held for a few steps alone is none that fits.
    timed = {size: times for size, times in sorted(ends.items()) if len(times) > 1 and size <= (found or 0)}
    if not timed:
        raise ValueError("not even a batch of 2 images fits the memory; lower data.size, or choose a smaller backbone")
    speeds = [size * (len(times) - 1) / (times[-1] - times[0]) for size, times in timed.items()]
    return BatchSizes([*timed], speeds, [memory[size] for size in timed])
