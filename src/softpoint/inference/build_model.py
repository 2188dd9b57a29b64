"""A network from the config in a checkpoint: modules of ours alone, of sizes that networks have."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from softpoint.models import KeypointNet

# What a stranger's config may build: modules of these packages, and nothing else.
_ALLOWED = ("softpoint.models", "softpoint.layers")

# Arguments that would read files or download while a network is rebuilt; its weights come from the checkpoint.
_IGNORED = ("weights", "pretrained", "folder")

# What makes a network slow to build or to run without making its weights any larger, and how much is too much.
_MOST = {
    "depth": 256, "dilated_d": 64, "dilated_kernel": 127, "kernel": 127, "kernels": 127, "window": 1025, "bins": 256,
}  # fmt: skip
_MOST_OTHERWISE = 1 << 16
_LONGEST, _DEEPEST = 256, 16


def rebuild(model: Any, num_keypoints: int) -> KeypointNet:
    """The network that a config describes, with the weights that its layers start from.

    Raises ValueError, whatever the config holds, where it is none of our networks.
    """
    try:
        built = _build(model)
        net = built(num_keypoints=num_keypoints) if callable(built) else built
    except Exception as error:  # a config that anyone may have written fails in any way
        raise ValueError(f"its network cannot be rebuilt: {short(error)}") from error
    if not isinstance(net, KeypointNet):
        raise ValueError(f"its model is a {type(net).__name__}, not a KeypointNet")
    return net


def short(words: object, most: int = 500) -> str:
    """What a message quotes of text that a stranger may have written.

    >>> short("abcdef", 3)
    'abc...'
    """
    text = str(words)
    return text if len(text) <= most else f"{text[:most]}..."


def _build(node: Any, key: str = "", depth: int = 0) -> Any:
    """What Hydra's instantiate would build, restricted to modules of `_ALLOWED`."""
    if depth > _DEEPEST or (isinstance(node, Mapping | Sequence) and len(node) > _LONGEST):
        raise ValueError(f"{short(key, 40)} is longer or deeper than any network's config")
    if isinstance(node, Mapping):
        built = {name: _build(value, name, depth + 1) for name, value in node.items() if not str(name).startswith("_")}
        if "_target_" not in node:
            return built
        arguments = {name: value for name, value in built.items() if name not in _IGNORED}
        layer = _allowed(node["_target_"])
        return partial(layer, **arguments) if node.get("_partial_") else layer(**arguments)
    if isinstance(node, list | tuple):
        return [_build(value, key, depth + 1) for value in node]
    if isinstance(node, int | float) and not abs(node) <= (most := _MOST.get(key, _MOST_OTHERWISE)):
        raise ValueError(f"{key}={node} is beyond {most}, the most that is taken from a file")
    return node


def _allowed(target: Any) -> type[nn.Module]:
    """The class a target names; ValueError unless it is a module of ours, however the name gets there."""
    package, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    if package not in _ALLOWED:
        asked = short(repr(target), 200)
        raise ValueError(f"it asks for {asked}, and only classes of {' and '.join(_ALLOWED)} are built")
    found = getattr(importlib.import_module(package), name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(f"it asks for {target!r}, which is no network module")
    return found
