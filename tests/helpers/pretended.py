"""A training of no time, also in the processes that a launcher of Hydra starts."""

from __future__ import annotations

from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from softpoint.cli import train


class Pretended(Callback):
    """Hydra's callback that replaces the training by the distance of its learning rate from 3; 4 is refused."""

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        train.train = score  # type: ignore[assignment]


def score(cfg: DictConfig) -> tuple[float, None]:
    if cfg.optimizer.lr == 4:
        raise ValueError("4 is no learning rate; try 5")
    return abs(cfg.optimizer.lr - 3), None
