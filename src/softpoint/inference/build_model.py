"""Networks built from the config in a checkpoint, restricted to softpoint's own modules of usual sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

from torch import nn

from softpoint.models import Network

ALLOWED_PACKAGES = ("softpoint.models", "softpoint.layers")

# Arguments that would read files or download; the weights come from the checkpoint.
IGNORED_ARGUMENTS = ("weights", "pretrained", "folder")

# Arguments that make a network slow to build or run while its weights stay small, and the largest value accepted.
MAX_ARGUMENTS = {
    "depth": 256, "dilated_d": 64, "dilated_kernel": 127, "kernel": 127, "kernels": 127, "window": 1025, "bins": 256,
    "scales": 64,
}  # fmt: skip
MAX_NUMBER = 1 << 16
MAX_LENGTH, MAX_DEPTH = 256, 16


def build_model(model: Any, num_keypoints: int, trust: Sequence[str] = ()) -> Network:
    """Return the network of a config, with initial weights; ValueError for any other content of the config.

    `trust` names packages of the user's own, never taken from a file: network modules that these and those below them
    define may be built, too.
    """
    try:
        built = _instantiate(model, trust)
        net = built(num_keypoints=num_keypoints) if callable(built) else built
    except Exception as error:  # an untrusted config fails in any way
        raise ValueError(f"its network cannot be rebuilt: {shorten(error)}") from error
    if not isinstance(net, Network):
        raise ValueError(f"its model is a {type(net).__name__}, not a KeypointNet")
    return net


def check_numbers(node: Any, key: str = "") -> None:
    """Raise ValueError for a number in a network's config that `build_model` would not accept from a checkpoint."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            check_numbers(value, name)
    elif isinstance(node, list | tuple):
        for value in node:
            check_numbers(value, key)
    _check_number(node, key)


def _check_number(node: Any, key: str) -> None:
    if isinstance(node, int | float) and not abs(node) <= (most := MAX_ARGUMENTS.get(key, MAX_NUMBER)):
        raise ValueError(f"{key}={node} is more than {most}, the largest value accepted from a file")


def describe_model(net: Any) -> dict[str, Any] | None:
    """Return the config from which `build_model` builds what `net` builds: a class, or a partial of classes and values.

    None where it holds anything else, such as a module that is built already.

    >>> from softpoint.models import FusionDecoder, KeypointNet, Small, SoftArgmaxHead
    >>> parts = {"decoder": FusionDecoder, "head": SoftArgmaxHead}
    >>> describe_model(partial(KeypointNet, backbone=partial(Small, width=8), **parts))["backbone"]
    {'_target_': 'softpoint.models.Small', '_partial_': True, 'width': 8}
    >>> describe_model(partial(KeypointNet, backbone=Small(width=8), **parts))
    """
    try:
        described: dict[str, Any] = _described(net)
    except ValueError:
        return None
    return described


def _described(node: Any) -> Any:
    made, values = (node.func, node.keywords) if isinstance(node, partial) and not node.args else (node, {})
    if isinstance(made, type) and issubclass(made, nn.Module):
        public = (package for package in ALLOWED_PACKAGES if getattr(import_module(package), made.__name__, 0) is made)
        target = f"{next(public, made.__module__)}.{made.__name__}"
        return {"_target_": target, "_partial_": True, **{key: _described(value) for key, value in values.items()}}
    if isinstance(node, list | tuple):
        return [_described(value) for value in node]
    if node is None or isinstance(node, bool | int | float | str):
        return node
    raise ValueError(f"{node!r} is no plain value")


def target_packages(config: Any) -> list[str]:
    """Return the packages of every `_target_` in a config that the user's own command line composed.

    >>> target_packages({"head": {"_target_": "mine.heads.Deep"}, "stages": [{"_target_": "softpoint.models.Small"}]})
    ['mine.heads', 'softpoint.models']
    """
    if isinstance(config, list | tuple):
        return [package for node in config for package in target_packages(node)]
    if not isinstance(config, Mapping):
        return []
    own = [str(config["_target_"]).rpartition(".")[0]] if "_target_" in config else []
    return own + target_packages(list(config.values()))


def shorten(value: object, length: int = 500) -> str:
    """Return untrusted text, shortened for a message.

    >>> shorten("abcdef", 3)
    'abc...'
    """
    text = str(value)
    return text if len(text) <= length else f"{text[:length]}..."


def _instantiate(node: Any, trust: Sequence[str], key: str = "", depth: int = 0) -> Any:
    """Return what Hydra's instantiate would, of modules in `ALLOWED_PACKAGES` alone."""
    if depth > MAX_DEPTH or (isinstance(node, Mapping | Sequence) and len(node) > MAX_LENGTH):
        raise ValueError(f"{shorten(key, 40)} is longer or deeper than any network's config")
    if isinstance(node, Mapping):
        values = {name: value for name, value in node.items() if not str(name).startswith("_")}
        built = {name: _instantiate(value, trust, name, depth + 1) for name, value in values.items()}
        if "_target_" not in node:
            return built
        arguments = {name: value for name, value in built.items() if name not in IGNORED_ARGUMENTS}
        layer = _module_class(node["_target_"], trust)
        return partial(layer, **arguments) if node.get("_partial_") else layer(**arguments)
    if isinstance(node, list | tuple):
        return [_instantiate(value, trust, key, depth + 1) for value in node]
    _check_number(node, key)
    return node


def _module_class(target: Any, trust: Sequence[str]) -> type[nn.Module]:
    """Return the class of a `_target_`; ValueError unless it is a module of an allowed or trusted package."""
    package, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    if package not in ALLOWED_PACKAGES and not _is_below(package, trust):
        raise ValueError(
            f"its config names {shorten(repr(target), 200)}, and only classes of {' and '.join(ALLOWED_PACKAGES)} are"
            " built; if it is your own, add its package by trust=[PACKAGE]"
        )
    result = getattr(import_module(package), name, None)
    if not (isinstance(result, type) and issubclass(result, nn.Module)):
        raise ValueError(f"its config names {target!r}, which is no network module")
    if not _is_below(result.__module__, (*ALLOWED_PACKAGES, *trust)):  # imported there from anywhere
        raise ValueError(
            f"its config names {target!r}, which is defined in {result.__module__}; if that is your own, add it by"
            f" trust=[{','.join([*trust, result.__module__])}]"
        )
    return result


def _is_below(package: str, packages: Sequence[str]) -> bool:
    """Return whether a package is one of `packages`, or below one.

    >>> _is_below("mine.heads", ["mine"]), _is_below("mine2", ["mine"]), _is_below("", [""])
    (True, False, False)
    """
    return bool(package) and any(f"{package}.".startswith(f"{own}.") for own in packages)
