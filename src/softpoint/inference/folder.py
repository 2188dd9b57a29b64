"""Folders that share a model, `config.json` and `model.safetensors`, read locally or from the Hugging Face Hub."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from softpoint.inference.safe_load import check_values

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
FORMAT = 1  # of config.json
MAX_CONFIG_BYTES = 1 << 26

_HUB = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def read_folder(folder: Path) -> dict[str, Any]:
    """Return the content of a folder that `save_pretrained` wrote, in the layout of a checkpoint.

    Both kinds of files hold plain values alone, and no value is larger than its file. Raises FileNotFoundError, and
    ValueError for a file that is damaged or of a later format.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"no checkpoint at {folder}, a folder without {name}; a run keeps its own in checkpoints/best.ckpt"
            )
    try:
        if (folder / CONFIG).stat().st_size > MAX_CONFIG_BYTES:
            raise ValueError(f"it is larger than {MAX_CONFIG_BYTES} bytes")
        content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not isinstance(content.get("format"), int):
            raise ValueError("it has no format number")
        check_values(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{folder / CONFIG} is no config of a softpoint model, or is damaged: {error}") from error
    if content["format"] > FORMAT:
        raise ValueError(
            f"{folder} is of format {content['format']}, and this softpoint reads up to {FORMAT}; update it"
        )
    try:
        weights = load_file(folder / WEIGHTS)
    except Exception as error:  # of the library's own types
        raise ValueError(f"{folder / WEIGHTS} is no safetensors file, or is damaged: {error}") from error
    return {**content, "state_dict": {f"net.{name}": value for name, value in weights.items()}}


def download(address: str) -> Path:
    """Return the local folder of a model at "hf://user/name" or "hf://user/name@revision", downloaded if need be.

    Only the config, the weights and the card are fetched, into the cache of huggingface_hub; without a network the copy
    there is used. Raises ValueError for an address of another form, and FileNotFoundError where there is no model.
    """
    match = _HUB.fullmatch(address)
    if match is None:
        raise ValueError(f"{address!r} is no address of a model; write hf://user/name or hf://user/name@revision")
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(match[1], revision=match[2], allow_patterns=[CONFIG, WEIGHTS, CARD])
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0][:300]
        raise FileNotFoundError(
            f"{address} cannot be downloaded ({reason}); check the name, log in by `hf auth login` for a private model"
        ) from error
    return Path(folder)
