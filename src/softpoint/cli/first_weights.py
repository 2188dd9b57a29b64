"""Published weights of a training's backbone, downloaded where they are missing."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from softpoint.cli.command_line import CONFIGS
from softpoint.paths import exclusive_lock

_log = logging.getLogger(__name__)


def fetch_missing(backbone: Any) -> None:
    """Download the published weights that a backbone starts from, as `softpoint weights fetch` does, if it lacks them.

    Nothing is downloaded for other weights, for `pretrained=false`, and where HF_HUB_OFFLINE=1 forbids it. A download
    that fails is a warning: what it starts from then is the backbone's to say.
    """
    path = Path(backbone.get("folder") or "", f"{backbone.get('name')}.safetensors")
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
        with exclusive_lock(path.with_suffix(".lock")):  # processes that train together need one download
            if not path.is_file():
                print(f"downloading starting weights, once: {weights.title} ({weights.license}), to {path}", flush=True)
                weights.fetch(path.parents[1])
    except (OSError, ValueError) as error:
        _log.warning("no starting weights could be downloaded: %s", error)
