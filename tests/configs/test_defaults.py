"""A default has one value: that of the Python signature is that of the shipped YAML."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from helpers.training import CONFIGS

# Presets, whose purpose is to differ from the defaults; and single keys that do: the command line also shows the
# router's weights, takes the folder of weights from the environment, and paints synthetic scenes in one process.
PRESETS = {
    *("augment/light", "augment/strong", "backbone/efficientnet_lite0", "backbone/efficientnet_lite2"),
    *("backbone/movenet_lightning", "backbone/movenet_thunder"),
}
DIFFERENT = {
    ("attention/dsa", "return_router_weights"),
    ("backbone/timm", "folder"),
    ("data/synthetic", "num_workers"),
    ("data/synthetic", "batch_size"),  # scenes and streams have no size that minutes could choose
    ("data/streaming", "batch_size"),
}
# Files of configs/fetch and configs/weights describe downloads, and are no settings.
FILES = sorted(
    path
    for path in CONFIGS.rglob("*.yaml")
    if "_target_: softpoint." in path.read_text(encoding="utf-8") and path.parent.name not in ("fetch", "weights")
)


def nodes(node: Any) -> Iterator[DictConfig]:
    """Every mapping below a config that names a target of softpoint."""
    if isinstance(node, DictConfig):
        if str(node.get("_target_", "")).startswith("softpoint."):
            yield node
        for key in node:
            yield from nodes(node._get_node(key))
    elif isinstance(node, ListConfig):
        for index in range(len(node)):
            yield from nodes(node._get_node(index))


def values(node: DictConfig) -> Iterator[tuple[str, Any]]:
    """The keys of a node with their values, less the nested objects and the references to other files."""
    for key in node:
        if str(key).startswith("_") or OmegaConf.is_missing(node, key):
            continue
        try:
            value = node[key]
        except OmegaConfBaseException:  # a reference to a file that is composed beside this one
            continue
        if not isinstance(value, DictConfig):
            yield str(key), OmegaConf.to_container(value) if isinstance(value, ListConfig) else value


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_default_is_the_same_in_yaml_and_in_python(path: Path) -> None:
    name = f"{path.parent.name}/{path.stem}"
    for node in nodes(OmegaConf.load(path)):
        target = get_object(node["_target_"])
        parameters = inspect.signature(target).parameters
        if getattr(getattr(target, "__init__", None), "__module__", "").startswith("pytorch_lightning."):
            continue  # the signature of the library
        for key, value in values(node):
            default = parameters[key].default
            if default is inspect.Parameter.empty or name in PRESETS or (name, key) in DIFFERENT:
                continue
            # OmegaConf reads 0.0001 as a float and [3, 7] as a list, as Python does; a tuple is a list there.
            default = list(default) if isinstance(default, tuple) else default
            assert (key, value) == (key, default), f"{name}: {node['_target_']} has {key}={default!r} in Python"


@pytest.mark.parametrize("path", sorted((CONFIGS / "loss").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_loss_is_a_function_and_a_yaml_that_names_its_module(path: Path) -> None:
    """A new loss needs these two files alone: no list of functions names it."""
    for node in nodes(OmegaConf.load(path)):
        function = get_object(node["_target_"])
        if inspect.isfunction(function):
            assert node["_target_"] == f"{function.__module__}.{function.__name__}"


def test_the_test_sees_the_losses_and_the_networks() -> None:
    names = {f"{path.parent.name}/{path.stem}" for path in FILES}
    assert {"loss/heatmap_ce", "backbone/small", "head/simcc", "decoder/fusion", *PRESETS} <= names
