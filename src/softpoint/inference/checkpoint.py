"""A network from a checkpoint alone, without trusting whoever wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from softpoint.inference.build_model import rebuild, short
from softpoint.inference.safe_load import read_torch_file
from softpoint.labels.skeleton import MAX_KEYPOINTS, Skeleton
from softpoint.models import KeypointNet

# Of a network's input: beyond them, a small file could ask for endless memory.
MAX_PIXELS = 1 << 23
_MAX_NAME = 256

# How many values, in how many levels, a checkpoint may hold; and of those its network's config and its record.
_MOST, _DEEPEST = 4_000_000, 64
_MOST_CONFIG, _MOST_RECORD = 10_000, 200_000
_NESTS = (dict, list, tuple)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says: the network with its weights, its keypoints, its input size, how it was trained."""

    net: KeypointNet
    skeleton: Skeleton
    size: tuple[int, int]  # (height, width) of the network's input
    crops: dict[str, Any] | None  # `padding` and `boxes` of the crops that it saw; None for whole images
    config: dict[str, Any]
    path: Path
    splits: dict[str, list[str]] | None = None  # images of train, val and test; None where there are no such files
    record: dict[str, Any] = field(default_factory=dict)  # what its training noted (`training.record`); {} in old ones


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Reads a checkpoint of scripts/train.py, running no code that it names.

    Raises FileNotFoundError, and ValueError for a file that is damaged, holds more than tensors and plain
    values, is no checkpoint of softpoint, or asks for anything but softpoint's own modules of usual sizes.
    """
    path = Path(path)
    stored = _load(path)
    try:
        _check_tree(stored)
        config, skeleton, size = stored["hyper_parameters"], _skeleton(stored["skeleton"]), _size(stored)
        model, weights = _of_today(config["model"]), _weights(stored["state_dict"])
        _check_tree(model, _MOST_CONFIG)
        crops, splits, record = _crops(stored.get("crops")), _splits(stored), _record(stored.get("record", {}))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        lacks = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} is no checkpoint of softpoint: {short(lacks)}") from error
    try:
        net = _network(model, len(skeleton), weights)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Checkpoint(net, skeleton, size, crops, config, path, splits, record)


def _network(model: Any, num_keypoints: int, weights: dict[str, Tensor]) -> KeypointNet:
    # First without memory, so that a file of a few bytes cannot ask for more than it holds.
    with torch.device("meta"):
        empty = rebuild(model, num_keypoints)
        _check_fit(empty, _complete(weights, empty))
    _check_finite(weights)
    net = rebuild(model, num_keypoints)
    net.load_state_dict(_complete(weights, net))
    return net.eval()


def _check_tree(root: Any, most: int = _MOST) -> None:
    """ValueError for what is nested too deeply, or is too long when what stands in several places counts anew."""
    waiting, count = [(root, 0)], 0
    while waiting:
        node, depth = waiting.pop()
        if isinstance(node, _NESTS):
            children = node.values() if isinstance(node, dict) else node
            count += len(node)
            if count > most or depth > _DEEPEST:
                raise ValueError("what it says is longer or deeper than any training's")
            waiting += [(child, depth + 1) for child in children if isinstance(child, _NESTS)]


def _skeleton(stored: Any) -> Skeleton:
    """The keypoints; ValueError for more of them, or longer names, than there are."""
    names, pairs, edges = (list(stored[part]) for part in ("names", "flip_pairs", "edges"))
    if max(map(len, (names, pairs, edges))) > MAX_KEYPOINTS:
        raise ValueError(f"it names more than {MAX_KEYPOINTS} keypoints, pairs or edges")
    words = [*names, *(word for pair in (*pairs, *edges) for word in pair)]
    if wrong := [word for word in words if not isinstance(word, str) or len(word) > _MAX_NAME]:
        raise ValueError(f"one of its keypoints is called {short(repr(wrong[0]), 80)}")
    return Skeleton.from_dict(stored)


def _size(stored: Mapping[str, Any]) -> tuple[int, int]:
    height, width = map(int, np.broadcast_to(stored.get("size") or stored["hyper_parameters"]["data"]["size"], 2))
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"its input is {height}x{width}, where 1 to {MAX_PIXELS} pixels are possible")
    return height, width


def _weights(state: Any) -> dict[str, Tensor]:
    """The network's own tensors by name."""
    weights = {key.removeprefix("net."): value for key, value in state.items() if key.startswith("net.")}
    if wrong := [key for key, value in weights.items() if not isinstance(value, Tensor)]:
        raise ValueError(f"its weights do not fit its config: {short(wrong[0], 80)} is no tensor")
    return weights


def _record(stored: Any) -> dict[str, Any]:
    """What training noted; ValueError where it is no dictionary of plain values."""
    _check_tree(stored, _MOST_RECORD)
    return {str(key): value for key, value in stored.items()}


def _of_today(model: Any) -> Any:
    """The network's config in today's words: what was `whole_map` is a choice of `decode`."""
    head = model.get("head") if isinstance(model, Mapping) else None
    if not isinstance(head, Mapping) or "whole_map" not in head:
        return model
    rest = {key: value for key, value in head.items() if key != "whole_map"}
    return {**model, "head": {"decode": "expectation" if head["whole_map"] else "window", **rest}}


def _complete(weights: Mapping[str, Tensor], net: KeypointNet) -> dict[str, Tensor]:
    """The weights, and an unfitted calibration where they were saved before there was one."""
    if any(key.startswith("calibration.") for key in weights):
        return dict(weights)
    return {**net.calibration.state_dict(prefix="calibration."), **weights}


def _splits(stored: Mapping[str, Any]) -> dict[str, list[str]] | None:
    """The split that the data of the run kept, whatever its class is called."""
    for key, state in stored.items():
        # The record of a run has splits too: how many images each had.
        if key != "record" and isinstance(state, Mapping) and isinstance(kept := state.get("splits"), Mapping):
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
        stored = read_torch_file(path)
    except ValueError as error:
        raise ValueError(f"{path} is no checkpoint of softpoint, or is damaged: {error}") from error
    if not isinstance(stored, Mapping):
        raise ValueError(f"{path} is no checkpoint of softpoint: it holds a {type(stored).__name__}")
    return stored


def _check_fit(net: KeypointNet, weights: Mapping[str, Tensor]) -> None:
    wanted, given = ({key: _kind(value) for key, value in state.items()} for state in (net.state_dict(), weights))
    if differing := sorted(key for key in wanted.keys() | given.keys() if wanted.get(key) != given.get(key)):
        key = differing[0]
        there, here = given.get(key, "absent"), wanted.get(key, "absent")
        raise ValueError(
            f"its weights do not fit its config: {len(differing)} tensors differ, first {short(key, 80)}, which is"
            f" {there} in the file and {here} by the config"
        )


def _kind(tensor: Tensor) -> tuple[tuple[int, ...], str]:
    """Shape, and what sort of numbers: weights of half precision fit, whole numbers do not."""
    return tuple(tensor.shape), "real" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")


def _check_finite(weights: Mapping[str, Tensor]) -> None:
    for key, value in weights.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"{key} holds NaN or infinity; its training diverged, or it is damaged")
