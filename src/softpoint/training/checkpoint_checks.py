"""Checks that a checkpoint is of the data and the network of the run that loads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor


def check_same_model(checkpoint: Mapping[str, Any], names: Sequence[str], state: Mapping[str, Tensor]) -> None:
    """Raise ValueError for a checkpoint of other keypoints than `names`, or of other tensors than those of `state`."""
    stored = checkpoint.get("skeleton", {}).get("names")
    if stored is not None and list(stored) != list(names):
        raise ValueError(
            f"the checkpoint predicts {len(stored)} keypoints ({', '.join(stored)}), but the data has {len(names)} "
            f"({', '.join(names)}); train on the same keypoints (data.keypoints selects some) "
            "or start a new run"
        )
    here, there = (
        {key: tuple(value.shape) for key, value in tensors.items()} for tensors in (state, checkpoint["state_dict"])
    )
    if differing := [key for key in here | there if here.get(key) != there.get(key)]:
        raise ValueError(
            f"the checkpoint holds another network: {len(differing)} tensors differ, first {differing[0]}, "
            f"of shape {there.get(differing[0])} there and {here.get(differing[0])} here; repeat the model, "
            "backbone and decoder of its run"
        )


def check_resumable(checkpoint: Mapping[str, Any], data: Any, groups: int) -> None:
    """Raise ValueError for a checkpoint of another data module, or of an optimizer of other `groups` of parameters."""
    kind = type(data).__qualname__
    if data is not None and kind not in checkpoint:
        raise ValueError(
            f"the checkpoint was not trained on {kind}, so its split is another; use the data= of its run, or start"
            " a new run"
        )
    for stored in checkpoint.get("optimizer_states", ()):
        if len(stored["param_groups"]) != groups:
            raise ValueError(
                f"the checkpoint's optimizer has {len(stored['param_groups'])} groups of parameters, this one"
                f" {groups}: it was written by an earlier version; its weights can be used, but not trained further"
            )
