"""Lightning's Trainer, from the settings of a command."""

from __future__ import annotations

import copy
from typing import Any

from omegaconf import DictConfig, open_dict


def make_trainer(cfg: DictConfig) -> Any:
    """Return the Trainer of `cfg`, which with accumulate=auto divides batches that memory does not hold.

    Raises ValueError for another `accumulate`, and for a device that this machine does not have.
    """
    from softpoint.training.checks import check_accelerator
    from softpoint.training.micro_batches import MicroBatches

    check_accelerator(cfg.accelerator)
    settings = copy.deepcopy(cfg)
    with open_dict(settings):
        accumulate = settings.pop("accumulate", None)  # is ours
    if accumulate not in ("auto", None):
        raise ValueError(
            f"trainer.accumulate={accumulate}: give auto, which divides batches that memory does not hold, or null;"
            " trainer.accumulate_grad_batches sums the gradients of so many batches"
        )
    trainer = _of_lightning(settings)
    trainer.callbacks += [MicroBatches()] if accumulate else []
    return trainer


def _of_lightning(cfg: DictConfig) -> Any:
    from hydra.utils import instantiate

    return instantiate(cfg)
