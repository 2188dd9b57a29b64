"""The choice of averaging with the mirror image that tta=auto leaves to a model's calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omegaconf import DictConfig

if TYPE_CHECKING:
    from softpoint.inference import Checkpoint


def decide_tta(cfg: DictConfig, checkpoint: Checkpoint) -> None:
    """Put what tta=auto is for a model into the config, and print it."""
    from softpoint.inference.flip_tta import choose_tta

    if cfg.tta == "auto":
        cfg.tta, reason = choose_tta(checkpoint.skeleton, checkpoint.record)
        print(reason)
