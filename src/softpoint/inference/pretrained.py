"""Folders that share a model, written and uploaded: `config.json`, `model.safetensors` and a model card."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from softpoint import __version__
from softpoint.inference.checkpoint import Checkpoint, read_checkpoint
from softpoint.inference.checkpoint_content import FORMAT
from softpoint.inference.hub import CARD, CONFIG, WEIGHTS, check_repo_id
from softpoint.paths import atomic_write, sha256, without_nan, write_json


def save_pretrained(checkpoint: Checkpoint | str | Path, folder: str | Path) -> Path:
    """Write a model to a folder that `load_predictor` reads, and return the folder.

    `model.safetensors` holds the weights with their calibration; `config.json` the network's config, keypoints, flip
    pairs, skeleton, input size, crops, split, library versions and record; `README.md` is the model card. The files are
    read back and compared before they replace earlier ones; `config.json` names the digest of the weights, so that a
    folder whose replacement was interrupted is refused. Raises ValueError if they differ.
    """
    checkpoint = checkpoint if isinstance(checkpoint, Checkpoint) else read_checkpoint(checkpoint)
    from softpoint.inference.model_card import write_card  # whose metrics take seconds to import

    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder to write the model to")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as temporary:
        new = Path(temporary)
        weights = {name: value.detach().cpu().contiguous() for name, value in checkpoint.net.state_dict().items()}
        with atomic_write(new / WEIGHTS) as file:
            file.write_bytes(save(weights, metadata={"format": "pt"}))
        write_json(new / CONFIG, {**_config(checkpoint), "weights_sha256": sha256(new / WEIGHTS)})
        written = read_checkpoint(new, checkpoint.trust)
        _compare(checkpoint, written)
        write_card(written, new / CARD)
        for name in (WEIGHTS, CONFIG, CARD):
            (new / name).replace(folder / name)
    return folder


def push_to_hub(
    checkpoint: Checkpoint | str | Path, repo_id: str, private: bool = False, token: str | None = None
) -> str:
    """Upload a model to the Hugging Face Hub as "user/name", created if need be, and return its address.

    `token` is that of the user's login (`hf auth login`) if None. Raises ValueError for another form of name, and
    ConnectionError where the Hub refuses the upload or cannot be reached.
    """
    from huggingface_hub import HfApi

    check_repo_id(repo_id)
    with tempfile.TemporaryDirectory() as temporary:
        folder = save_pretrained(checkpoint, temporary)
        api = HfApi(token=token)
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            api.upload_folder(repo_id=repo_id, folder_path=folder, allow_patterns=[CONFIG, WEIGHTS, CARD])
        except Exception as error:  # those of the library, and those of its HTTP client
            line = str(error).strip().partition("\n")[0][:300]
            advice = "check the name, and log in by `hf auth login` with a token that may write"
            raise ConnectionError(f"hf://{repo_id} cannot be uploaded ({line}); {advice}") from error
    return f"hf://{repo_id}"


def upload_list(folder: Path, repo_id: str, private: bool) -> str:
    """Return what an upload of a folder of `save_pretrained` makes readable, and for whom."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    images = sum(len(names) for names in (config["splits"] or {}).values())
    contents = {
        WEIGHTS: "the weights",
        CONFIG: f"the settings of the training with its paths, keypoints, metrics, and the names of {images} images",
        CARD: "the model card",
    }
    readers = "you and those you let in, if this makes the repository" if private else "everyone"
    lines = [f"hf://{repo_id}, for {readers}:"]
    for name, content in contents.items():
        lines.append(f"  {name} ({(folder / name).stat().st_size / 1e6:.2f} MB): {content}")
    return "\n".join(lines)


def _config(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "library_name": "softpoint",
        "library_version": __version__,
        "skeleton": checkpoint.skeleton.to_dict(),
        "size": list(checkpoint.size),
        "crops": checkpoint.crops,
        "finder": checkpoint.finder,
        "hyper_parameters": without_nan(checkpoint.config),
        "splits": checkpoint.splits,
        "versions": checkpoint.versions,
        "record": without_nan(checkpoint.record),
    }


def _compare(checkpoint: Checkpoint, written: Checkpoint) -> None:
    """Raise ValueError unless the written model is the same network on the same keypoints and input."""
    expected, actual = checkpoint.net.state_dict(), written.net.state_dict()
    if wrong := [name for name, value in expected.items() if not torch.equal(value.cpu(), actual[name])]:
        raise ValueError(
            f"the written weights differ from {checkpoint.path}, first in {wrong[0]}; nothing was replaced"
        )
    parts = ("skeleton", "size", "crops", "finder")
    if wrong := [part for part in parts if getattr(checkpoint, part) != getattr(written, part)]:
        raise ValueError(f"the written {wrong[0]} differs from that of {checkpoint.path}; nothing was replaced")
