"""The maps of attention blocks, collected while a network predicts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from threading import get_ident
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from softpoint.types import AttentionMaps


@contextmanager
def collect_attention(blocks: nn.ModuleDict) -> Iterator[dict[str, list[AttentionMaps]]]:
    """Fill a mapping from each place of `blocks` (`KeypointNet.attention`) to its maps for each image of a forward.

    A block that has `branch_maps`, as `DynamicSpatialAttention` has, also gives the masks of its branches and the
    weights of its router, whatever it is set to return; of another one it is the mask alone. A forward of another
    thread is not collected. Meanwhile nothing compiled is used, since a compiled block would be compiled once more to
    collect its maps.

    >>> from softpoint.layers import DynamicSpatialAttention
    >>> blocks = nn.ModuleDict({"head": DynamicSpatialAttention()})
    >>> with collect_attention(blocks) as maps:
    ...     _ = blocks["head"](torch.zeros(2, 4, 8, 8))
    >>> len(maps["head"]), maps["head"][0].branches.shape
    (2, (3, 8, 8))
    """
    maps: dict[str, list[AttentionMaps]] = {}
    handles = [
        block.register_forward_hook(partial(_collect, maps, place, get_ident())) for place, block in blocks.items()
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
    block: Any,
    inputs: tuple[Tensor, ...],
    outputs: Any,
) -> None:
    if get_ident() != thread:
        return
    masks = _numpy(outputs[1][:, 0])
    if not hasattr(block, "branch_maps"):
        maps[place] = [AttentionMaps(mask) for mask in masks]
        return
    with torch.no_grad():
        branches, weights, names = block.branch_maps(inputs[0])
    rows = zip(masks, _numpy(branches), _numpy(weights), strict=True)
    maps[place] = [AttentionMaps(*row, names) for row in rows]


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
