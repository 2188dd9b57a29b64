"""A network from a checkpoint alone, without trusting whoever wrote it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from softpoint.data.skeleton import Skeleton
from softpoint.models import KeypointNet

# What a stranger's config may build: modules of these packages, and nothing else.
_ALLOWED = ("softpoint.models", "softpoint.layers")

# Arguments that would read files or download while a network is rebuilt; its weights come from the checkpoint.
_IGNORED = ("weights", "pretrained", "folder")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says: the network with its weights, its keypoints, its input size, how it was trained."""

    net: KeypointNet
    skeleton: Skeleton
    size: tuple[int, int]  # (height, width) of the network's input
    crops: dict[str, Any] | None  # `padding` and `boxes` of the crops that it saw; None for whole pictures
    config: dict[str, Any]
    path: Path
    splits: dict[str, list[str]] | None = None  # images of train, val and test; None where there are no such files


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Reads a checkpoint of scripts/train.py, running no code that it names.

    Raises FileNotFoundError, and ValueError for a file that is damaged, holds more than tensors and plain
    values, is no checkpoint of softpoint, or asks for anything but softpoint's own modules.
    """
    path = Path(path)
    stored = _load(path)
    try:
        config, skeleton = stored["hyper_parameters"], Skeleton.from_dict(stored["skeleton"])
        model, state = _of_today(config["model"]), dict(stored["state_dict"])
        height, width = map(int, np.broadcast_to(stored.get("size") or config["data"]["size"], 2))
        if min(height, width) < 1:
            raise ValueError(f"its input is {height}x{width}")
        crops, splits = _crops(stored.get("crops")), _splits(stored)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        lacks = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} is no checkpoint of softpoint: {lacks}") from error
    weights = {key.removeprefix("net."): value for key, value in state.items() if key.startswith("net.")}
    _check_finite(path, weights)
    # First without memory, so that a file of a few bytes cannot ask for more than it holds.
    with torch.device("meta"):
        empty = _network(path, model, len(skeleton))
        _check_fit(path, empty, _complete(weights, empty))
    net = _network(path, model, len(skeleton))
    net.load_state_dict(_complete(weights, net))
    return Checkpoint(net.eval(), skeleton, (height, width), crops, config, path, splits)


def _of_today(model: Any) -> Any:
    """The network's config in today's words: what was `whole_map` is a choice of `decode`."""
    head = model.get("head") if isinstance(model, Mapping) else None
    if not isinstance(head, Mapping) or "whole_map" not in head:
        return model
    rest = {key: value for key, value in head.items() if key != "whole_map"}
    return {**model, "head": {"decode": "expectation" if head["whole_map"] else "window", **rest}}


def _complete(weights: Mapping[str, Any], net: KeypointNet) -> dict[str, Any]:
    """The weights, and an unfitted calibration where they were saved before there was one."""
    if any(key.startswith("calibration.") for key in weights):
        return dict(weights)
    return {**net.calibration.state_dict(prefix="calibration."), **weights}


def _splits(stored: Mapping[str, Any]) -> dict[str, list[str]] | None:
    """The split that the data of the run kept, whatever its class is called."""
    for state in stored.values():
        if isinstance(state, Mapping) and isinstance(kept := state.get("splits"), Mapping):
            return {str(split): [str(image) for image in images] for split, images in kept.items()}
    return None


def _crops(stored: Any) -> dict[str, Any] | None:
    """How training cropped; ValueError for what it cannot have been."""
    if stored is None:
        return None
    padding, boxes = float(stored["padding"]), stored["boxes"]
    if not 0 < padding < 100 or boxes not in (None, "labels", "keypoints"):
        raise ValueError(f"its crops are {padding:g} times the boxes of {boxes!r}")
    return {"padding": padding, "boxes": boxes}


def _load(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}; a run keeps its own in checkpoints/best.ckpt")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch's own message advises to load the file with its code, so it is not passed on.
        raise ValueError(
            f"{path} is no checkpoint of softpoint, or is damaged: it does not load as tensors and plain values"
            f" ({type(error).__name__}); nothing in it was run"
        ) from error
    if not isinstance(stored, Mapping):
        raise ValueError(f"{path} is no checkpoint of softpoint: it holds a {type(stored).__name__}")
    return stored


def _network(path: Path, model: Any, num_keypoints: int) -> KeypointNet:
    try:
        built = _build(model)
        net = built(num_keypoints=num_keypoints) if callable(built) else built
    except Exception as error:  # a config that anyone may have written fails in any way
        raise ValueError(f"{path}: its network cannot be rebuilt: {error}") from error
    if not isinstance(net, KeypointNet):
        raise ValueError(f"{path}: its model is a {type(net).__name__}, not a KeypointNet")
    return net


def _build(node: Any) -> Any:
    """What Hydra's instantiate would build, restricted to modules of `_ALLOWED`."""
    if isinstance(node, Mapping):
        built = {key: _build(value) for key, value in node.items() if not str(key).startswith("_")}
        if "_target_" not in node:
            return built
        arguments = {key: value for key, value in built.items() if key not in _IGNORED}
        layer = _allowed(node["_target_"])
        return partial(layer, **arguments) if node.get("_partial_") else layer(**arguments)
    if isinstance(node, Sequence) and not isinstance(node, str):
        return [_build(value) for value in node]
    return node


def _allowed(target: Any) -> type[nn.Module]:
    """The class a target names; ValueError unless it is a module of ours, however the name gets there."""
    package, _, name = str(target).rpartition(".")
    if package not in _ALLOWED:
        raise ValueError(f"it asks for {target!r}, and only classes of {' and '.join(_ALLOWED)} are built")
    found = getattr(importlib.import_module(package), name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(f"it asks for {target!r}, which is no network module")
    return found


def _check_fit(path: Path, net: KeypointNet, weights: Mapping[str, Any]) -> None:
    wanted = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    given = {key: tuple(getattr(value, "shape", ())) for key, value in weights.items()}
    if differing := sorted(key for key in wanted.keys() | given.keys() if wanted.get(key) != given.get(key)):
        key = differing[0]
        raise ValueError(
            f"{path}: its weights do not fit its config: {len(differing)} tensors differ, first {key}, of shape "
            f"{given.get(key)} in the file and {wanted.get(key)} in the config"
        )


def _check_finite(path: Path, weights: Mapping[str, Any]) -> None:
    for key, value in weights.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"{path}: {key} holds NaN or infinity; its training diverged, or it is damaged")
