"""The packages of the user's own that the network of a training comes from, and what its checkpoints then need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from softpoint.suggest import trust_setting


def own_packages(cfg: DictConfig) -> list[str]:
    """Return the packages that the config of a training takes its network from, which its checkpoint may name."""
    from softpoint.inference.build_model import target_packages

    stated = [cfg.trust] if isinstance(cfg.trust, str) else cfg.trust or ()
    return [*target_packages(OmegaConf.to_container(cfg.model, resolve=True)), *stated]


def announce_trust(module: Any, trust: Sequence[str]) -> str:
    """Print what commands need to read the checkpoints of a network with modules of the user's own; return it."""
    import torch

    from softpoint.inference.build_model import build_model

    try:
        with torch.device("meta"):
            build_model(module.hparams["model"], len(module.skeleton), trust)
    except ValueError as error:
        print(f"warning: no command will read the checkpoints of this training, nor resume it: {error}")
    if trusted := trust_setting(trust):
        print(f"the network has modules of your own: commands that read its checkpoints need{trusted}")
    return trusted
