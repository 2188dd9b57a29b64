"""Checkpoints of earlier versions, brought to the names of this one.

Every rename of something that a checkpoint holds has one row, here or in `renamed_keys`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from softpoint.renamed_keys import RENAMED_KEYS

# Of the checkpoint itself: Lightning keeps the state of a data module under the name of its class.
RENAMED_PARTS = {"LabelledData": "LabeledData"}
# Of `callbacks`, where Lightning keeps the state of each under the name of its class.
RENAMED_CALLBACKS = {
    "TimeBudget": "Duration",
    "ModelCheckpoint{'monitor': None, 'mode': 'min', 'every_n_train_steps': 0, 'every_n_epochs': 1, "
    "'train_time_interval': None}": "KeepLast",
}
# Values of any `_target_` in `hyper_parameters`.
RENAMED_TARGETS = {
    "softpoint.data.LabelledData": "softpoint.data.LabeledData",
    "softpoint.training.callbacks.TimeBudget": "softpoint.training.callbacks.Duration",
    "softpoint.training.callbacks.ValidationPictures": "softpoint.training.dashboard.Dashboard",
    "softpoint.training.callbacks.ValidationImages": "softpoint.training.dashboard.Dashboard",
}
# Of `record`, and of each of its splits.
RENAMED_RECORD = {"weights_licence": "weights_license", "data_licence": "data_license"}
RENAMED_COUNTS = {"pictures": "images"}
# Ends of the names of weights and buffers.
RENAMED_WEIGHTS = {
    "calibration.widening": "calibration.covariance_scale",
    "calibration.hit": "calibration.hit_weights",
    "calibration.presence": "calibration.presence_weights",
}

MAX_DEPTH = 64


def upgrade(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's content under today's names; what is unknown, or of another type, is left as it is.

    Lists and dictionaries that change are copied, tensors are shared.

    >>> upgrade({"record": {"data_licence": "MIT", "splits": {"test": {"pictures": 3}}}})
    {'record': {'data_license': 'MIT', 'splits': {'test': {'images': 3}}}}
    """
    changes: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
        "callbacks": partial(_renamed, names=RENAMED_CALLBACKS),
        "hyper_parameters": _upgrade_config, "record": _upgrade_record,
        "state_dict": _upgrade_weights, "current_model_state": _upgrade_weights,
    }  # fmt: skip
    result = _renamed(stored, RENAMED_PARTS)
    for part, change in changes.items():
        if isinstance(content := result.get(part), Mapping):
            result[part] = change(content)
    return result


def _upgrade_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a run in today's keys and targets.

    >>> _upgrade_config({"data": {"unlabelled": "absent"}, "model": {"head": {"whole_map": True}}})
    {'data': {'unlabeled': 'absent'}, 'model': {'head': {'decode': 'expectation'}}}
    >>> _upgrade_config({"module": {"compile": True, "backbone_rate": 1.0}})
    {'module': {'backbone_rate': 1.0}, 'compile': True}
    """
    result: dict[str, Any] = _copied(config)
    for old, new in RENAMED_KEYS.items():
        *groups, key = old.split(".")
        group = _group(result, *groups)
        if key in group:
            value = group.pop(key)
            (result if "." not in new else group)[new.rpartition(".")[2]] = value
    head = _group(result, "model", "head")
    if "whole_map" in head:
        head.setdefault("decode", "expectation" if head.pop("whole_map") else "window")
    return result


def _copied(node: Any, depth: int = 0) -> Any:
    """Return a copy of a config with today's targets."""
    if depth > MAX_DEPTH:
        return node
    if isinstance(node, Mapping):
        copy = {key: _copied(value, depth + 1) for key, value in node.items()}
        if isinstance(target := copy.get("_target_"), str):
            copy["_target_"] = RENAMED_TARGETS.get(target, target)
        return copy
    return [_copied(value, depth + 1) for value in node] if isinstance(node, list | tuple) else node


def _group(config: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return the group at nested keys; an empty one where there is none."""
    node: Any = config
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    return node if isinstance(node, dict) else {}


def _upgrade_record(record: Mapping[str, Any]) -> dict[str, Any]:
    result = _renamed(record, RENAMED_RECORD)
    if isinstance(splits := result.get("splits"), Mapping):
        result["splits"] = {
            split: _renamed(counts, RENAMED_COUNTS) if isinstance(counts, Mapping) else counts
            for split, counts in splits.items()
        }
    return result


def _upgrade_weights(state: Mapping[str, Any]) -> dict[str, Any]:
    def name(key: Any) -> Any:
        old = next((old for old in RENAMED_WEIGHTS if isinstance(key, str) and key.endswith(old)), "")
        return key.removesuffix(old) + RENAMED_WEIGHTS[old] if old else key

    return {name(key): value for key, value in state.items()}


def _renamed(part: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in part.items()}
