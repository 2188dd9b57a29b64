"""Which published weights a training starts from, and their download where they are missing."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from softpoint.cli.command_line import CONFIGS
from softpoint.cli.run_folder import AUTO
from softpoint.paths import exclusive_lock

_log = logging.getLogger(__name__)

# What backbone=auto stands for, in a long training and in a short one.
STARTS = _LONG, _SHORT = "efficientnet_lite0", "movenet_lightning"
# Minutes of one core up to which a training is short: docs/results.md has three minutes and twelve.
_SHORT_MINUTES = 6.0
_NO_WEIGHTS = {"pretrained": False, "weights": None}


def settle_backbone(cfg: DictConfig, choice: str | None, before: Mapping[str, Any], trainer: Any) -> str:
    """Choose the backbone of a training as `choose_backbone` does."""
    alone_on_cpu = trainer.world_size == 1 and trainer.strategy.root_device.type == "cpu"
    return choose_backbone(cfg, before, alone_on_cpu) if choice == AUTO else ""


def settle_weights(cfg: DictConfig, before: Mapping[str, Any]) -> None:
    """Get the published weights that the backbone of a training lacks, or leave them out.

    They are left out where the model with config `before` replaces all of them.
    """
    from softpoint.training.initial_model import architecture

    models = architecture(OmegaConf.to_container(cfg.model, resolve=True)), architecture(before.get("model"))
    now, then = ({key: model.get(key) for key in ("backbone", "norm")} for model in models)
    if now != then:
        fetch_missing(cfg.backbone)
    elif str(cfg.backbone.get("_target_", "")).startswith("softpoint.models."):
        cfg.backbone.update({key: value for key, value in _NO_WEIGHTS.items() if key in cfg.backbone})


def choose_backbone(cfg: DictConfig, before: Mapping[str, Any], on_cpu: bool) -> str:
    """Put the backbone that backbone=auto stands for into a config, and return a line that says so, or "".

    Args:
        cfg: the config of a training; where a user changed settings of its backbone, other than the folder, it stays.
        before: the config of the model that the training goes on with or starts from, which it follows; or empty.
        on_cpu: whether one process trains on a CPU.
    """
    options = {name: OmegaConf.load(CONFIGS / "backbone" / f"{name}.yaml") for name in (_LONG, _SHORT)}
    given: Any = OmegaConf.to_container(cfg.backbone)
    for option in options.values():
        option.folder = given.get("folder")
    if given != OmegaConf.to_container(options[_LONG]):
        return ""
    short = options[_SHORT]
    if model := before.get("model"):
        if (model.get("backbone") or {}).get("name") == short.name:
            cfg.backbone = short
        return ""
    if not on_cpu or not _is_short(cfg.minutes):
        return ""
    cfg.backbone = short
    fetch_missing(cfg.backbone)
    if not _weights_of(cfg.backbone).is_file():
        cfg.backbone = options[_LONG]
        return ""
    return (
        f"backbone={_SHORT}, which learns fastest: minutes={cfg.minutes} is short on this machine;"
        f" backbone={_LONG} is the choice for longer ones"
    )


def backbone_words(cfg: DictConfig, before: Mapping[str, Any]) -> list[str]:
    """Return the override that names what backbone=auto stands for in a training on this machine, and say it; or none.

    `cfg` has Hydra's own keys, and `before` is as in `choose_backbone`, which may download weights.
    """
    if not is_open(cfg):
        return []
    if line := choose_backbone(cfg, before, _trains_alone_on_cpu(cfg)):
        print(line, flush=True)
    return [f"backbone={_SHORT if cfg.backbone.get('name') == _SHORT else _LONG}"]


def is_open(cfg: DictConfig) -> bool:
    """Return whether a training, whose config has Hydra's own keys, chooses its backbone itself."""
    return bool(cfg.hydra.runtime.choices.get("backbone") == AUTO)


def _trains_alone_on_cpu(cfg: DictConfig) -> bool:
    """Return whether one process would train on a CPU, without the trainer of the training."""
    import torch

    from softpoint.cli.processes import has_several

    device = cfg.trainer.accelerator
    return not has_several(cfg) and (device == "cpu" or (device == "auto" and not torch.accelerator.is_available()))


def _is_short(minutes: Any) -> bool:
    """Return whether so many minutes are so few that a backbone which learns fast is better."""
    import torch

    return type(minutes) in (int, float) and 0 < minutes * torch.get_num_threads() <= _SHORT_MINUTES


def _weights_of(backbone: Any) -> Path:
    """The file of the published weights that a backbone starts from."""
    return Path(backbone.get("folder") or "", f"{backbone.get('name')}.safetensors")


def fetch_missing(backbone: Any) -> None:
    """Download the published weights that a backbone starts from, as `softpoint weights fetch` does, if it lacks them.

    Nothing is downloaded for other weights, for `pretrained=false`, and where HF_HUB_OFFLINE=1 forbids it. A download
    that fails is a warning: what it starts from then is the backbone's to say.
    """
    path = _weights_of(backbone)
    wanted = backbone.get("pretrained", False) is not False and backbone.get("weights") is None
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    if not wanted or offline or path.is_file() or path.parent.name != "weights":
        return
    recipe = next((r for r in map(OmegaConf.load, (CONFIGS / "weights").glob("*.yaml")) if r.file == path.name), None)
    if recipe is None:
        return
    from hydra.utils import instantiate

    weights = instantiate(recipe, _convert_="all")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(path.with_name(f".{path.name}.lock")):  # processes that train together need one download
            if not path.is_file():
                print(f"downloading starting weights, once: {weights.title} ({weights.license}), to {path}", flush=True)
                weights.fetch(path.parents[1])
    except (OSError, ValueError) as error:
        _log.warning("no starting weights could be downloaded: %s", error)
