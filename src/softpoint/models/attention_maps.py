"""The maps of attention blocks, collected while a network predicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from threading import get_ident
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from softpoint.types import AttentionMaps


@contextmanager
def collect_attention(
    blocks: nn.ModuleDict, around: Callable[[], AbstractContextManager[None]] = nullcontext
) -> Iterator[dict[str, list[AttentionMaps]]]:
    """Fill a mapping from each place of `blocks` (`KeypointNet.attention`) to its maps for each image of a forward.

    A block that has `branch_maps`, as `DynamicSpatialAttention` has, also gives the masks of its branches and the
    weights of its router, whatever it is set to return; of another one it is the mask alone, and one that returns its
    features alone has no maps. A forward of another thread is not collected. Meanwhile nothing compiled is used, since
    a compiled block would be compiled once more to collect its maps. The work for each block is done within `around`,
    which may time it.

    >>> from softpoint.layers import DynamicSpatialAttention
    >>> blocks = nn.ModuleDict({"head": DynamicSpatialAttention()})
    >>> with collect_attention(blocks) as maps:
    ...     _ = blocks["head"](torch.zeros(2, 4, 8, 8))
    >>> len(maps["head"]), maps["head"][0].branches.shape
    (2, (3, 8, 8))
    """
    maps: dict[str, list[AttentionMaps]] = {}
    handles = [
        block.register_forward_hook(partial(_collect, maps, place, get_ident(), around))
        for place, block in blocks.items()
    ]
    try:
        with torch.compiler.set_stance("force_eager"):
            yield maps
    finally:
        for handle in handles:
            handle.remove()


def _collect(
    maps: dict[str, list[AttentionMaps]],
    place: str,
    thread: int,
    around: Callable[[], AbstractContextManager[None]],
    block: Any,
    inputs: tuple[Tensor, ...],
    outputs: Any,
) -> None:
    if get_ident() == thread and not isinstance(outputs, Tensor):
        with around():
            maps[place] = _maps_of(block, inputs[0], outputs)


def _maps_of(block: Any, features: Tensor, outputs: Any) -> list[AttentionMaps]:
    """Return the maps of a block for each image of a forward."""
    masks = _numpy(outputs[1][:, 0])
    if not hasattr(block, "branch_maps"):
        return [AttentionMaps.of_mask(mask) for mask in masks]
    with torch.no_grad():
        branches, weights, names = block.branch_maps(features)
    rows = zip(masks, _numpy(branches), _numpy(weights), strict=True)
    return [AttentionMaps(*row, names) for row in rows]


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
