"""Backbones that keep few features for the backward pass, and compute the others again there."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from softpoint.models import KeypointNet


def recompute_features(net: KeypointNet) -> None:
    """Let the backbone compute the features within its blocks again in the backward pass (gradient checkpointing).

    So does that of a finder. Raises ValueError for a backbone that cannot do it, and for one that both share.
    """
    finder = getattr(net, "finder", None)
    if finder is not None and finder.backbone is None:
        raise ValueError(
            "recompute=true: a backbone that finder.share=true lets both stages use cannot compute its features again,"
            " because its normalizations would not know for which stage; leave one of the two out"
        )
    backbones: list[Any] = [net.backbone, *([] if finder is None else [finder.backbone])]
    for backbone in backbones:
        if not hasattr(backbone, "recompute"):
            raise ValueError(
                f"recompute=true: {type(backbone).__name__} has no attribute `recompute`, by which a backbone computes"
                " its features again; leave it out"
            )
        backbone.recompute = True
        backbone.register_forward_pre_hook(_watch_norms)


def _watch_norms(backbone: Any, _: Any) -> None:
    for part in backbone.modules():  # with each batch, because trainer.sync_batchnorm=true puts others in their place
        if isinstance(part, _BatchNorm) and _set_aside not in part._forward_pre_hooks.values():
            part.register_forward_pre_hook(_set_aside)
            part.register_forward_hook(_put_back, always_call=True)


def _set_aside(norm: Any, _: Any) -> None:
    """Let a norm that is computed again count its batch in copies of its statistics."""
    if torch._C._current_graph_task_id() != -1:  # within a backward pass
        norm._counted = dict(norm._buffers)
        norm._buffers.update({key: None if value is None else value.clone() for key, value in norm._buffers.items()})


def _put_back(norm: Any, *_: Any) -> None:
    norm._buffers.update(norm.__dict__.pop("_counted", {}))
