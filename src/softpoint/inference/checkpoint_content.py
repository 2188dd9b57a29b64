"""Content of checkpoints and shared folders, which may come from anyone: plain values and tensors, each one checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.torch import load_file
from torch import Tensor

from softpoint.data.stored_splits import unpack_splits
from softpoint.inference.build_model import shorten
from softpoint.inference.compatibility import upgrade
from softpoint.inference.hub import CONFIG, MAX_CONFIG_BYTES, WEIGHTS, download
from softpoint.inference.safe_load import check_values, read_torch_file
from softpoint.labels.skeleton import MAX_KEYPOINTS, Skeleton
from softpoint.paths import sha256

# Of the config in a shared folder.
FORMAT = 1

# Of a network's input: with more, a small file could ask for any amount of memory.
MAX_PIXELS = 1 << 23
MAX_CONFIG_VALUES, MAX_RECORD_VALUES, MAX_NAME = 10_000, 200_000, 256


class Content(NamedTuple):
    """Content of a checkpoint: weights for its network, and fields of `Checkpoint`."""

    weights: dict[str, Tensor]  # of the network, by name
    skeleton: Skeleton
    size: tuple[int, int]
    crops: dict[str, Any] | None
    config: dict[str, Any]
    path: Path
    splits: dict[str, list[str]] | None
    record: dict[str, Any]
    versions: dict[str, str]
    address: str | None = None
    finder: dict[str, Any] | None = None


def read_content(path: str | Path) -> Content:
    """Return what `read_checkpoint` reads, and raise what it raises, without building a network."""
    address = path if isinstance(path, str) and path.startswith("hf://") else None
    path = download(address) if address else Path(path)
    stored = upgrade(_read(path))
    try:
        skeleton, config = _skeleton(stored["skeleton"]), _config(stored)
        size = _size(stored)
        weights = _weights(stored["state_dict"])
        check_values(config["model"], MAX_CONFIG_VALUES)
        check_values(stored.get("record", {}), MAX_RECORD_VALUES)
        record = {str(key): value for key, value in stored.get("record", {}).items()}
        versions = {str(key): str(value) for key, value in (stored.get("versions") or {}).items()}
        crops, splits, finder = _crops(stored.get("crops")), _splits(stored), _finder(stored.get("finder"))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} is no checkpoint of softpoint: {shorten(reason)}") from error
    try:
        _check_memory(weights, path / WEIGHTS if path.is_dir() else path)
        _check_finite(weights)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Content(weights, skeleton, size, crops, config, path, splits, record, versions, address, finder)


def _read(path: Path) -> Mapping[str, Any]:
    """Return the content of a file or folder, in the layout of a checkpoint."""
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}; a run keeps its own in checkpoints/best.ckpt")
    if path.suffix in (".onnx", ".pt2"):
        reader = "`softpoint.runtime.load` and `softpoint serve` run it" if path.suffix == ".onnx" else "torch runs it"
        raise ValueError(f"{path} is an exported file: {reader}; here, give the run's checkpoints/best.ckpt")
    try:
        stored = read_torch_file(path)
    except ValueError as error:
        raise ValueError(
            f"{path} is no checkpoint of softpoint, or is damaged: {error};"
            " a run keeps its own in checkpoints/best.ckpt"
        ) from error
    if not isinstance(stored, Mapping):
        raise ValueError(f"{path} is no checkpoint of softpoint: it holds a {type(stored).__name__}")
    return stored


def _read_folder(folder: Path) -> dict[str, Any]:
    """Return the content of a folder that `save_pretrained` wrote, in the layout of a checkpoint.

    Both of its files hold plain values alone, and no value is larger than its file.
    """
    if (best := folder / "checkpoints" / "best.ckpt").is_file():
        raise FileNotFoundError(f"{folder} is the folder of a run, and no checkpoint; give {best}")
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
    if content.get("weights_sha256") not in (None, sha256(folder / WEIGHTS)):
        raise ValueError(
            f"{folder / WEIGHTS} does not belong to its {CONFIG}: writing them was interrupted, or one was replaced;"
            " write or download both again"
        )
    try:
        weights = load_file(folder / WEIGHTS)
    except Exception as error:  # of the library's own types
        raise ValueError(f"{folder / WEIGHTS} is no safetensors file, or is damaged: {error}") from error
    return {**content, "state_dict": {f"net.{name}": value for name, value in weights.items()}}


def _config(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a run, or the description of a network alone; ValueError without one."""
    config = stored.get("hyper_parameters")
    if config is None or (isinstance(config, Mapping) and "model" not in config):
        raise ValueError(
            "it does not describe its network, as softpoint train does, and a KeypointModule whose"
            " net=partial(KeypointNet, ...) holds classes, partials of classes and plain values, but no module"
        )
    return dict(config)


def _skeleton(stored: Any) -> Skeleton:
    """Return the keypoints; ValueError for too many of them, and for names that are no text or too long."""
    names, pairs, edges = (list(stored[part]) for part in ("names", "flip_pairs", "edges"))
    if max(map(len, (names, pairs, edges))) > MAX_KEYPOINTS:
        raise ValueError(f"it names more than {MAX_KEYPOINTS} keypoints, pairs or edges")
    every_name = [*names, *(name for pair in (*pairs, *edges) for name in pair)]
    if wrong := [name for name in every_name if not isinstance(name, str) or len(name) > MAX_NAME]:
        raise ValueError(f"one of its keypoints is called {shorten(repr(wrong[0]), 80)}")
    return Skeleton.from_dict(stored)


def _size(stored: Mapping[str, Any]) -> tuple[int, int]:
    """Return (height, width) of the input; an old checkpoint has it in the config of its data alone."""
    size = stored.get("size") or (stored["hyper_parameters"].get("data") or {}).get("size")
    if size is None:
        raise ValueError("it lacks the size of its input, which the first batch of a training tells")
    return _checked_size(size)


def _finder(stored: Any) -> dict[str, Any] | None:
    """Return the size of the input in which subjects are found and what marks them; ValueError for impossible ones."""
    if stored is None:
        return None
    return {"size": _checked_size(stored["size"]), "anchor": str(stored["anchor"])[:MAX_NAME]}


def _checked_size(size: Any) -> tuple[int, int]:
    height, width = map(int, np.broadcast_to(size, 2))
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"its input is {height}x{width}, where 1 to {MAX_PIXELS} pixels are possible")
    return height, width


def _crops(stored: Any) -> dict[str, Any] | None:
    """Return how training cropped; ValueError for impossible values."""
    if stored is None:
        return None
    padding, boxes = float(stored["padding"]), stored["boxes"]
    if not 0 < padding < 100 or boxes not in (None, "labels", "keypoints"):
        raise ValueError(f"its crops are {padding:g} times the boxes of {boxes!r}")
    return {"padding": padding, "boxes": boxes}


def _splits(stored: Mapping[str, Any]) -> dict[str, list[str]] | None:
    """Return the images of each split, from a shared folder, or from the data module's state in a .ckpt file."""
    # The record has splits, too, but of counts.
    states = [stored, *(state for key, state in stored.items() if key != "record" and isinstance(state, Mapping))]
    for state in states:
        if isinstance(splits := state.get("splits"), Mapping):
            return unpack_splits(splits)
    return None


def _weights(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the network's own tensors by name."""
    weights = {key.removeprefix("net."): value for key, value in state.items() if key.startswith("net.")}
    if wrong := [key for key, value in weights.items() if not isinstance(value, Tensor)]:
        raise ValueError(f"its weights do not fit its config: {shorten(wrong[0], 80)} is no tensor")
    return weights


def _check_memory(weights: Mapping[str, Tensor], path: Path) -> None:
    """Raise ValueError for tensors that share memory: loaded, they take more of it than their file has bytes."""
    if sum(value.nbytes for value in weights.values()) > path.stat().st_size:
        raise ValueError("its weights are larger than the file: several tensors share their numbers")


def _check_finite(weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError for weights that a training ruined."""
    if ruined := [key for key, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]:
        raise ValueError(
            f"{len(ruined)} of its weights hold NaN or infinity, first {shorten(ruined[0], 80)}: its training diverged;"
            " use a checkpoint from before, or train again with a lower optimizer.lr"
        )
