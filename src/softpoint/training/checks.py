"""Checks of a run's settings: before an image is decoded, and once the number of batches is known."""

from __future__ import annotations

import math
import os
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.accelerators import CPUAccelerator, CUDAAccelerator, MPSAccelerator
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, WeightAveraging
from torch import nn

from softpoint.inference.regions import check_map
from softpoint.labels.split import SPLITS
from softpoint.metrics.columns import COLUMNS
from softpoint.metrics.visibility import NAMES
from softpoint.suggest import check_choice
from softpoint.training.best import STEP
from softpoint.training.calibrate import Calibrate
from softpoint.training.callbacks import Duration
from softpoint.training.micro_batches import micro_batches
from softpoint.training.pruning import TRIAL
from softpoint.training.sharded import ShardedStrategy

# Keys of the trainer that are whole numbers, and a value beside those from 1 on that turns a limit off.
_WHOLE = {"max_epochs": -1, "max_steps": -1, "accumulate_grad_batches": None, "check_val_every_n_epoch": None}


def check_trainer(trainer: Any) -> None:
    """Raise ValueError for a trainer that leaves out a part of a run, never validates, or keeps the worst epoch."""
    for split in SPLITS:
        if getattr(trainer, f"limit_{split}_batches") == 0:
            raise ValueError(
                f"trainer.limit_{split}_batches=0 leaves no {split} batch, but a run trains, chooses its best epoch by"
                " val and is measured on test; give at least 1, or null for all"
            )
    for key, off in _WHOLE.items():
        if (value := getattr(trainer, key)) not in (None, off):
            _check_whole(f"trainer.{key}", value)
    if trainer.val_check_interval == 0:
        raise ValueError("trainer.val_check_interval=0: give a number of batches, or a fraction of an epoch")
    if (trainer.gradient_clip_val or 0) < 0:
        raise ValueError(f"trainer.gradient_clip_val={trainer.gradient_clip_val}: give a positive number, or null")
    every, epochs = trainer.check_val_every_n_epoch or 1, trainer.max_epochs or 0
    if 0 < epochs < every:
        raise ValueError(
            f"trainer.check_val_every_n_epoch={every} is more than the {epochs} epochs of the run, which would never be"
            " validated; lower it"
        )
    processors = os.cpu_count() or 1
    if isinstance(trainer.accelerator, CPUAccelerator) and trainer.num_devices > max(4, processors):
        raise ValueError(
            f"trainer.devices={trainer.num_devices} would start as many processes on {processors} CPU cores; lower it"
        )
    _check_nodes(trainer)
    _check_joined_statistics(trainer)
    if isinstance(trainer.strategy, ShardedStrategy) and any(isinstance(c, WeightAveraging) for c in trainer.callbacks):
        raise ValueError(
            "trainer=fsdp divides the weights between the processes, which callbacks.ema cannot average; add"
            " '~callbacks.ema'"
        )
    if isinstance(trainer.strategy, ShardedStrategy) and micro_batches(trainer):
        raise ValueError(
            "trainer=fsdp sums the gradients of the processes part by part, so that trainer.accumulate=auto cannot"
            " repeat a batch; lower data.batch_size and set trainer.accumulate_grad_batches"
        )
    for callback in trainer.callbacks:
        if isinstance(callback, EarlyStopping | ModelCheckpoint):
            _check_monitor(callback)
    if not trainer.fast_dev_run and not any(callback.monitor for callback in trainer.checkpoint_callbacks):
        raise ValueError(
            "no callback would save the best epoch, which a run tests and calibrates in the end; keep"
            " callbacks.checkpoint, or add a ModelCheckpoint with a monitor"
        )


def check_heatmap_sets(trainer: Any, head: nn.Module) -> None:
    """Raise ValueError for a calibration that is to fit heatmap sets of a head without heatmaps."""
    if any(isinstance(callback, Calibrate) and callback.heatmap_sets for callback in trainer.callbacks):
        check_map(head, "callbacks.calibrate.heatmap_sets=true")


def check_accelerator(name: str) -> None:
    """Raise ValueError for a kind of device that torch does not see on this machine; others are Lightning's affair."""
    kinds = {"cuda": CUDAAccelerator, "mps": MPSAccelerator}
    asked = {"gpu": ["cuda", "mps"], "cuda": ["cuda"], "mps": ["mps"]}.get(name, [])
    if asked and not any(kinds[kind].is_available() for kind in asked):
        raise ValueError(
            f"trainer.accelerator={name}: torch {torch.__version__} sees no such device on this machine; leave out"
            f" trainer={name} to train on the fastest one that it sees, or install a driver and a torch for it"
        )


def check_batches(trainer: Any, data: Any) -> None:
    """Raise ValueError where the number of batches of an epoch leaves nothing to train, to validate or to test.

    The data is that of all processes.
    """
    for split in filter(data.batches, SPLITS):
        limit, batches = getattr(trainer, f"limit_{split}_batches"), -(-data.batches(split) // trainer.world_size)
        if isinstance(limit, float) and int(limit * batches) < 1:
            raise ValueError(
                f"trainer.limit_{split}_batches={limit:g} of {batches} batches is less than one; give a larger"
                " fraction, or a whole number of batches"
            )
    limit, every, batches = (
        trainer.limit_train_batches,
        trainer.val_check_interval,
        -(-data.batches("train") // trainer.world_size),
    )
    epochs = data.default_epochs if trainer.max_epochs is None else trainer.max_epochs
    total = epochs * (min(limit, batches) if isinstance(limit, int) else int(limit * batches))
    # The other ends of a run validate its last weights.
    by_epochs = trainer.max_steps < 0 and not any(isinstance(c, Duration) and c.minutes for c in trainer.callbacks)
    if trainer.check_val_every_n_epoch is None and isinstance(every, int) and by_epochs and 0 < total < every:
        raise ValueError(
            f"trainer.val_check_interval={every} is more than the {total} batches of the run, which would never be"
            " validated; lower it"
        )


def leave_out_validation(trainer: Any) -> None:
    """Let a run without validation images keep its last weights as best.ckpt, and end by its length alone.

    Raises ValueError for a training of a study that chooses by the validation error.
    """
    if TRIAL in os.environ:
        raise ValueError(
            "hydra/sweeper=optuna chooses by val/epe, which a training without validation images (data.val=0) does not"
            " measure; give data.val=0.2, or sweep a list of values without it"
        )
    trainer.limit_val_batches = 0
    for callback in trainer.checkpoint_callbacks:
        if (callback.monitor or "").startswith("val/"):  # of steps, the last is the largest
            callback.monitor, callback.mode, callback.kth_value = STEP, "max", torch.tensor(-math.inf)
            callback._save_on_train_epoch_end = True  # also where validations would come at other times
    trainer.callbacks = [
        c for c in trainer.callbacks if not (isinstance(c, EarlyStopping) and c.monitor.startswith("val/"))
    ]


def _check_nodes(trainer: Any) -> None:
    """Raise ValueError for several machines of which none could find the others."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if name not in os.environ]
    if trainer.num_nodes > 1 and isinstance(environment, LightningEnvironment) and missing:
        raise ValueError(
            f"trainer.num_nodes={trainer.num_nodes}, but {' and '.join(missing)} say not where the others are: set them"
            " on every node (the address and a free port of the first one, and 0, 1, ... by node), or start by torchrun"
            " or SLURM"
        )


def _check_joined_statistics(trainer: Any) -> None:
    """Raise ValueError for batch statistics of all processes where torch cannot join them, or one may drop out."""
    if trainer.world_size == 1 or not getattr(trainer.strategy, "_layer_sync", None):
        return
    if isinstance(trainer.accelerator, CPUAccelerator):
        raise ValueError(
            "trainer.sync_batchnorm=true joins batch statistics on GPUs only; on CPUs leave it out, or choose"
            " norm=group, which needs no other image"
        )
    if micro_batches(trainer):
        raise ValueError(
            "trainer.sync_batchnorm=true lets all processes wait within the network, where trainer.accumulate=auto lets"
            " one start again; choose one of them, or norm=group in place of the first"
        )


def _check_whole(key: str, value: Any) -> None:
    if type(value) is not int or value < 1:
        raise ValueError(f"{key}={value}: give a whole number from 1 on")


def _check_monitor(callback: EarlyStopping | ModelCheckpoint) -> None:
    """Raise ValueError for a metric that no validation measures, and for one whose better values are not chosen."""
    kind, monitor, group = type(callback).__name__, callback.monitor or "", "val/"
    if isinstance(callback, EarlyStopping):
        _check_whole("patience of EarlyStopping", callback.patience)
    if not monitor or monitor.startswith("train/"):
        return
    logged = [f"val/{column.name}" for column in COLUMNS.values() if column.logged or column.name in NAMES]
    check_choice(f"monitor of {kind}", monitor, ["val/loss", *logged])
    column = COLUMNS.get(monitor.removeprefix(group))
    better = "min" if column is None or column.lower_is_better else "max"
    if callback.mode != better:
        raise ValueError(f"{kind} of {monitor} must have mode={better}, or it takes the worst epoch for the best")
