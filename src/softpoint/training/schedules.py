"""Learning-rate schedules, as what Lightning's configure_optimizers returns for one."""

from __future__ import annotations

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau


def constant(optimizer: Optimizer, total_steps: float) -> dict[str, Any]:
    """The optimizer's own learning rate throughout."""
    return {"scheduler": LambdaLR(optimizer, lambda step: 1.0), "interval": "step"}


def warmup_cosine(optimizer: Optimizer, total_steps: float, warmup: float, final: float) -> dict[str, Any]:
    """Linear rise over the fraction `warmup` of all steps, then half a cosine down to `final` of the rate.

    Raises ValueError for a run without an end, which has no fractions, and for a fraction outside [0, 1).
    Source: Loshchilov and Hutter, SGDR, arXiv:1608.03983.
    """
    if not 0 <= warmup < 1:
        raise ValueError(f"scheduler.warmup is a fraction of the run in [0, 1), got {warmup}")
    if not math.isfinite(total_steps) or total_steps < 1:
        raise ValueError(
            "scheduler=warmup_cosine needs a known number of steps; set trainer.max_epochs, or use scheduler=constant"
        )
    rise = max(warmup * total_steps, 1)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        progress = min((step - rise) / max(total_steps - rise, 1), 1)
        return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2

    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}


def plateau(optimizer: Optimizer, total_steps: float, factor: float, patience: int) -> dict[str, Any]:
    """Multiplies the rate by `factor` after `patience` validations without a better val/epe.

    A resumed run has not counted the validation that it was stopped after: Lightning saves before it counts.
    """
    scheduler = ReduceLROnPlateau(optimizer, factor=factor, patience=patience)
    return {"scheduler": scheduler, "interval": "epoch", "monitor": "val/epe"}
