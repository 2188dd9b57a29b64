"""Share of a training's CPU time that its dashboard takes: curves at every n-th step, drawings every few epochs.

python benchmarks/dashboard.py data.size=256 data.batch_size=8 --rounds 7

Each validation is drawn here, and the share is computed for the epochs and the settings of the config.
Not counted is that a compiled network runs uncompiled in the few batches of which attention is drawn.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.loggers import TensorBoardLogger
from rich.table import Table

from report import composed, parser, print_machine, print_wide, spread
from softpoint.models import attention_maps
from softpoint.training.callbacks import ExponentialAverage
from softpoint.training.dashboard import Monitor

STEPS = ("on_train_epoch_start", "on_validation_end", "on_train_batch_start", "on_before_optimizer_step",
         "on_train_batch_end")  # fmt: skip
VALIDATIONS = ("on_validation_epoch_start", "on_validation_batch_start", "on_validation_batch_end",
               "on_validation_epoch_end", "on_validation_end")  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Train for a few epochs of `--calls` steps, and print what steps, validations and drawings take."""
    options = parser(__doc__).parse_intermixed_args(arguments)
    print_machine()
    cfg = composed("data.num_workers=0", *options.overrides)
    with tempfile.TemporaryDirectory() as folder:
        times, steps = measure(cfg, folder, options.rounds, options.calls)
    every = cfg.callbacks.dashboard.every_n_epochs
    shares = share_of_epochs(times, steps, every)
    table = Table("work", "CPU ms", "smallest to largest", title=f"epochs of {steps} steps, one of {every} is drawn")
    for name, values in times.items():
        table.add_row(name, *spread([1000 * value for value in values], 1))
    print_wide(table)
    middle, ends = spread([100 * share for share in shares], 2)
    print(f"the dashboard takes {middle} % of the CPU time of a training ({ends} % in {len(shares)} epochs)")


def share_of_epochs(times: Mapping[str, Sequence[float]], steps: int, every: int) -> list[float]:
    """Return the share of the dashboard by the times of each epoch, for epochs of `steps` one of `every` is drawn of.

    >>> share_of_epochs({"step": [1.0], "curves": [0.1], "validation": [10.0], "drawing": [5.0]}, steps=85, every=5)
    [0.09]
    """
    rows = zip(*(times[name] for name in ("step", "curves", "validation", "drawing")), strict=True)
    return [
        (shown := steps * curves + drawing / every) / (steps * step + validation + shown)
        for step, curves, validation, drawing in rows
    ]


def measure(cfg: DictConfig, folder: str, rounds: int, calls: int) -> tuple[dict[str, list[float]], int]:
    """Return CPU seconds in each epoch but the first, and the number of steps of a whole epoch.

    They are those of a step and its curves (means), of a validation and its drawing.
    """
    data = instantiate(cfg.datamodule)
    data.prepare_data()
    data.setup("fit")
    module = instantiate(cfg.module, _partial_=True)(skeleton=data.skeleton)
    dashboard, monitor = instantiate(cfg.callbacks.dashboard, every_n_epochs=1, share=1.0), Monitor()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=rounds + 1, limit_train_batches=calls, num_sanity_val_steps=0,
        callbacks=[ExponentialAverage(cfg.callbacks.ema.decay), monitor, dashboard], enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        log_every_n_steps=cfg.trainer.log_every_n_steps,
        logger=TensorBoardLogger(folder, "", "", default_hp_metric=False),
    )  # fmt: skip
    clock = Stopwatch()
    clock.watch("curves", monitor, STEPS)
    clock.watch("curves", module, ("_measure",))
    clock.watch("drawing", dashboard, VALIDATIONS)
    clock.watch("drawing", attention_maps, ("_collect",))  # in the forward of a validation
    clock.watch("step", trainer.fit_loop.epoch_loop, ("advance",))
    clock.watch("validation", trainer.fit_loop.epoch_loop.val_loop, ("run",))
    clock.watch("", dashboard, ("on_train_epoch_start",), clock.lap)
    trainer.fit(module, data)
    clock.lap()
    # The first lap is empty, the second warms up.
    times = {
        name: [lap.get(name, 0.0) for lap in clock.laps[2:]] for name in ("step", "curves", "validation", "drawing")
    }
    for name, inner, count in (("step", "curves", calls), ("validation", "drawing", 1)):
        times[name] = [(outer - own) / count for outer, own in zip(times[name], times[inner], strict=True)]
    times["curves"] = [value / calls for value in times["curves"]]
    return times, data.batches("train")


class Stopwatch:
    """CPU seconds of methods, summed by name in each lap."""

    def __init__(self) -> None:
        self.laps: list[dict[str, float]] = []
        self._lap: dict[str, float] = {}

    def lap(self) -> None:
        """Begin the next lap."""
        self.laps.append(self._lap)
        self._lap = {}

    def watch(self, name: str, thing: Any, methods: Sequence[str], before: Callable[[], None] | None = None) -> None:
        """Time every call of these methods of one object."""
        for method in methods:
            setattr(thing, method, self._timed(name, getattr(thing, method), before))

    def _timed(self, name: str, method: Callable[..., Any], before: Callable[[], None] | None) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            if before is not None:
                before()
            start = time.process_time()
            try:
                return method(*arguments, **named)
            finally:
                self._lap[name] = self._lap.get(name, 0.0) + time.process_time() - start

        return timed


if __name__ == "__main__":
    main(sys.argv[1:])
