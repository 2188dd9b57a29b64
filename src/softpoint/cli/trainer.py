"""Lightning's Trainer, from the settings of a command, and its messages."""

from __future__ import annotations

import copy
import logging
import re
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
        _join_progress(settings)
    if accumulate not in ("auto", None):
        raise ValueError(
            f"trainer.accumulate={accumulate}: give auto, which divides batches that memory does not hold, or null;"
            " trainer.accumulate_grad_batches sums the gradients of so many batches"
        )
    trainer = _of_lightning(settings)
    trainer.callbacks += [MicroBatches()] if accumulate else []
    return trainer


def _join_progress(settings: DictConfig) -> None:
    """Show no progress where one of its settings says so: `trainer.enable_progress_bar` or a dropped callback."""
    callbacks = list(settings.callbacks or ())
    others = [callback for callback in callbacks if not re.search("progress_?bar", callback._target_, re.IGNORECASE)]
    if not settings.enable_progress_bar or len(others) == len(callbacks):
        settings.callbacks, settings.enable_progress_bar = others, False


def _of_lightning(cfg: DictConfig) -> Any:
    from hydra.utils import instantiate

    return instantiate(cfg)


def quiet_lightning(resumed: bool) -> None:
    """Silence Lightning's notes on progress, and its warnings that are of no use to a user."""
    import warnings

    # Of its own use of torch, its advice to use more workers than a laptop has cores, and epochs cut short.
    ignored = ".*LeafSpec.*|.*many workers.*|.*smaller than the logging interval.*|.*could not find the monitored key.*"
    if resumed:
        ignored += "|Checkpoint directory .* is not empty.*"  # a resumed run goes on in its own
    warnings.filterwarnings("ignore", ignored)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("pytorch_lightning.profilers").setLevel(logging.INFO)  # their tables
