"""Checkpoints of earlier versions, brought to the names of this one.

Every rename of something that a checkpoint holds has one row here: of its parts, its config, its record, its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

# Of the checkpoint itself: Lightning keeps the state of a data module under the name of its class.
RENAMED_PARTS = {"LabelledData": "LabeledData"}
# Of `hyper_parameters`, as dotted paths.
RENAMED_CONFIG = {
    "callbacks.minutes": "callbacks.duration",
    "callbacks.pictures": "callbacks.images",
    "data.outside": "data.out_of_frame",
    "data.resident": "data.device_cache",
    "data.unlabelled": "data.unlabeled",
    "data.unlabelled_images": "data.unlabeled_images",
}
# Values of any `_target_` in `hyper_parameters`.
RENAMED_TARGETS = {
    "softpoint.data.LabelledData": "softpoint.data.LabeledData",
    "softpoint.training.callbacks.TimeBudget": "softpoint.training.callbacks.Duration",
    "softpoint.training.callbacks.ValidationPictures": "softpoint.training.callbacks.ValidationImages",
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
    result = _renamed(stored, RENAMED_PARTS)
    for part, change in (("hyper_parameters", upgrade_config), ("record", _upgrade_record)):
        result = _changed(result, part, change)
    for part in ("state_dict", "current_model_state"):
        result = _changed(result, part, _upgrade_weights)
    return result


def upgrade_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a run in today's keys and targets.

    >>> upgrade_config({"data": {"unlabelled": "absent"}, "model": {"head": {"whole_map": True}}})
    {'data': {'unlabeled': 'absent'}, 'model': {'head': {'decode': 'expectation'}}}
    """
    result: dict[str, Any] = dict(_retargeted(config, 0))
    for old, new in RENAMED_CONFIG.items():
        group, _, key = old.partition(".")
        result = _changed(result, group, partial(_renamed, names={key: new.partition(".")[2]}))
    return _changed(result, "model", lambda model: _changed(model, "head", _upgrade_head))


def _upgrade_head(head: Mapping[str, Any]) -> dict[str, Any]:
    """Return a head's config in which `decode` stands for the earlier `whole_map`."""
    if "whole_map" not in head:
        return dict(head)
    rest = {key: value for key, value in head.items() if key != "whole_map"}
    return {"decode": "expectation" if head["whole_map"] else "window", **rest}


def _upgrade_record(record: Mapping[str, Any]) -> dict[str, Any]:
    def counts(splits: Mapping[str, Any]) -> dict[str, Any]:
        return {
            split: _renamed(part, RENAMED_COUNTS) if isinstance(part, Mapping) else part
            for split, part in splits.items()
        }

    return _changed(_renamed(record, RENAMED_RECORD), "splits", counts)


def _retargeted(node: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        return node
    if isinstance(node, Mapping):
        return {
            key: RENAMED_TARGETS.get(value, value)
            if key == "_target_" and isinstance(value, str)
            else _retargeted(value, depth + 1)
            for key, value in node.items()
        }
    return [_retargeted(value, depth + 1) for value in node] if isinstance(node, list | tuple) else node


def _renamed(part: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(key, key) if isinstance(key, str) else key: value for key, value in part.items()}


def _changed(whole: Mapping[str, Any], part: str, change: Callable[[Mapping[str, Any]], Any]) -> dict[str, Any]:
    """Return `whole` with `part` changed, if it is a dictionary."""
    value = whole.get(part)
    return {**whole, part: change(value)} if isinstance(value, Mapping) else dict(whole)


def _upgrade_weights(state: Mapping[str, Any]) -> dict[str, Any]:
    def name(key: Any) -> Any:
        old = next((old for old in RENAMED_WEIGHTS if isinstance(key, str) and key.endswith(old)), "")
        return key.removesuffix(old) + RENAMED_WEIGHTS[old] if old else key

    return {name(key): value for key, value in state.items()}
