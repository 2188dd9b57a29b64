"""Targets of a loss, made of points and a mask."""

from __future__ import annotations

import torch
from torch import Tensor

from softpoint.functional import image_to_grid
from softpoint.training import Target


def target_of(
    points: Tensor, mask: Tensor, stride: int, states: Tensor | None = None, progress: float | None = None
) -> Target:
    """The target of points in input pixels, of which those in `mask` can be trained; no state is known by default."""
    cells = image_to_grid(torch.where(mask[..., None], points, 0), stride)
    return Target(
        cells, mask, torch.full_like(mask, -1, dtype=torch.long) if states is None else states, stride, progress
    )
