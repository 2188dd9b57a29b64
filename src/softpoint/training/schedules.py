"""Learning-rate schedules, as what Lightning's configure_optimizers returns for one.

`progress` tells of a number of optimizer steps which fraction of the run they are, by its steps or its minutes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

Progress = Callable[[int], float]


def constant(optimizer: Optimizer, progress: Progress) -> dict[str, Any]:
    """The optimizer's own learning rate throughout."""
    return {"scheduler": LambdaLR(optimizer, lambda step: 1.0), "interval": "step"}


def warmup_cosine(optimizer: Optimizer, progress: Progress, warmup: float, final: float) -> dict[str, Any]:
    """Linear rise over the fraction `warmup` of the run, then half a cosine down to `final` of the rate.

    Raises ValueError for a run without an end, which has no fractions, and for a fraction outside [0, 1).
    Source: Loshchilov and Hutter, SGDR, arXiv:1608.03983.
    """
    if not 0 <= warmup < 1:
        raise ValueError(f"scheduler.warmup is a fraction of the run in [0, 1), got {warmup}")

    def factor(step: int) -> float:
        # Counted from the next step on, so that the first one moves and the last one still does.
        before, after = progress(step), progress(step + 1)
        if before < warmup:
            return min(after / warmup, 1.0)
        fallen = min((before - warmup) / (1 - warmup), 1.0)
        return final + (1 - final) * (1 + math.cos(math.pi * fallen)) / 2

    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}


def plateau(optimizer: Optimizer, progress: Progress, factor: float, patience: int) -> dict[str, Any]:
    """Multiplies the rate by `factor` after `patience` validations without a better val/epe.

    A resumed run has not counted the validation that it was stopped after: Lightning saves before it counts.
    """
    scheduler = ReduceLROnPlateau(optimizer, factor=factor, patience=patience)
    return {"scheduler": scheduler, "interval": "epoch", "monitor": "val/epe"}
