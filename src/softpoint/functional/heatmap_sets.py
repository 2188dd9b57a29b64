"""Sets of a heatmap's cells, the most probable first: its highest-density regions (Hyndman, Am. Stat. 50, 1996).

Unlike an ellipse such a set may have several parts, where a keypoint has several likely places. Its tail, the mass that
is less probable than any of its cells, determines it: float32 tells the tails of two sets apart that hold nearly all.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from softpoint.functional.spatial import as_floating, widen


def tail_mass(heatmap: Float[Tensor, "*n h w"]) -> Float[Tensor, "*n h w"]:
    """Mass of all cells that are less probable than each one: 1 less that of all that are at least as probable.

    It is 0 for the least probable cells, and stated as 1 for the most probable, which every set holds.

    >>> tail_mass(torch.tensor([[0.5, 0.125], [0.25, 0.125]])).tolist()
    [[1.0, 0.0], [0.25, 0.0]]
    """
    cells = widen(as_floating(heatmap)).flatten(-2).contiguous()
    ordered = cells.sort(-1).values
    below = F.pad(ordered.cumsum(-1), (1, 0)).gather(-1, torch.searchsorted(ordered, cells))
    return below.masked_fill(cells == ordered[..., -1:], 1).reshape(heatmap.shape)


def tail_mass_at(heatmap: Float[Tensor, "*n h w"], points: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n"]:
    """`tail_mass` of the cell that holds each point (x, y), in cells; negatively infinite outside of the map.

    >>> heatmap = torch.tensor([[[0.5, 0.125], [0.25, 0.125]]]).expand(3, 2, 2)
    >>> tail_mass_at(heatmap, torch.tensor([[0.2, 0.4], [0.4, 0.6], [1.6, 0.0]])).tolist()
    [1.0, 0.25, -inf]
    """
    height, width = heatmap.shape[-2:]
    column, row = (points + 0.5).floor().unbind(-1)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    cell = torch.where(inside, row * width + column, 0).long()
    tail = tail_mass(heatmap).flatten(-2).gather(-1, cell[..., None])[..., 0]
    return torch.where(inside, tail, -torch.inf)


def heatmap_set(heatmap: Float[Tensor, "*n h w"], tail: Float[Tensor, "..."] | float) -> Bool[Tensor, "*n h w"]:
    """The most probable cells, down to those than which only `tail` of the mass is less probable.

    Together they hold at most 1 - `tail`, but for the most probable cell, which is always among them; with 0 they are
    the whole map, and with NaN none. A set holds the points whose `tail_mass_at` is at least its tail.

    >>> heatmap_set(torch.tensor([[0.5, 0.125], [0.25, 0.125]]), 0.2).tolist()
    [[True, False], [True, False]]
    """
    bound = torch.as_tensor(tail, dtype=widen(as_floating(heatmap)).dtype, device=heatmap.device)
    return tail_mass(heatmap) >= bound[..., None, None]
