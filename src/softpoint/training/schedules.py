"""Learning-rate schedules, in the form that Lightning's configure_optimizers returns.

`progress` maps a number of optimizer steps to the fraction of the run that is then done, by its steps or its minutes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

Progress = Callable[[int], float]


def constant(optimizer: Optimizer, progress: Progress) -> dict[str, Any]:
    """Return a schedule that keeps the optimizer's learning rate."""
    return {"scheduler": LambdaLR(optimizer, lambda step: 1.0), "interval": "step"}


def warmup_cosine(optimizer: Optimizer, progress: Progress, warmup: float, final: float) -> dict[str, Any]:
    """Return a linear rise over the fraction `warmup` of the run, then half a cosine down to `final` of the rate.

    Raises ValueError for a warmup outside [0, 1), and for a run without an end.
    Source: Loshchilov and Hutter, SGDR, arXiv:1608.03983.
    """
    if not 0 <= warmup < 1:
        raise ValueError(f"scheduler.warmup is a fraction of the run in [0, 1), got {warmup}")

    def factor(step: int) -> float:
        # The warmup counts from the next step on, so that the rate of the first step is not 0.
        before, after = progress(step), progress(step + 1)
        if before < warmup:
            return min(after / warmup, 1.0)
        decay = min((before - warmup) / (1 - warmup), 1.0)
        return final + (1 - final) * (1 + math.cos(math.pi * decay)) / 2

    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}


def plateau(optimizer: Optimizer, progress: Progress, factor: float, patience: int) -> dict[str, Any]:
    """Return a schedule that multiplies the rate by `factor` after `patience` validations without a better val/epe."""
    scheduler = ReduceLROnPlateau(optimizer, factor=factor, patience=patience)
    return {"scheduler": scheduler, "interval": "epoch", "monitor": "val/epe"}


def check_followed(schedule: Mapping[str, Any], validated: bool) -> None:
    """Raise ValueError for a schedule that follows a metric of validation, in a run without any.

    >>> check_followed({"monitor": "val/epe"}, True)
    """
    if (monitor := schedule.get("monitor") or "").startswith("val/") and not validated:
        raise ValueError(
            f"the schedule follows {monitor}, which a run without validation images (data.val=0) does not measure;"
            " choose scheduler=warmup_cosine, or give data.val=0.2"
        )
