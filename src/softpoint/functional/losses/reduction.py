"""Reduction of one loss per keypoint to one number."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from softpoint.functional.spatial import widen


def masked_mean(
    losses: Float[Tensor, "..."], mask: Bool[Tensor, "..."], count: Shaped[Tensor, ""] | None = None
) -> Float[Tensor, ""]:
    """Mean of the losses where `mask` is true; 0, with zero gradient, if it is nowhere true.

    `count` replaces the number of true entries as the divisor.

    >>> masked_mean(torch.tensor([1.0, 3.0, float("nan")]), torch.tensor([True, True, False])).item()
    2.0
    """
    count = mask.sum() if count is None else count
    return torch.where(mask, widen(losses), 0).sum() / torch.where(count > 0, count, 1)


def hard_keypoints(losses: Float[Tensor, "B K"], mask: Bool[Tensor, "B K"], count: int) -> Float[Tensor, "B K"]:
    """Keep the `count` largest losses of each sample where `mask` is true, and set the others to 0.

    Online hard keypoint mining. The losses are scaled so that their sum over a sample is its number of true entries
    times the mean of the kept ones: the masked mean then weighs samples as without mining, also under several
    processes. Raises ValueError for a count below 1.
    Source: Chen et al., Cascaded Pyramid Network for Multi-Person Pose Estimation, arXiv:1711.07319.

    >>> losses = torch.tensor([[1.0, 5.0, 3.0, float("nan")]])
    >>> hard_keypoints(losses, torch.tensor([[True, True, True, False]]), 2).tolist()
    [[0.0, 7.5, 4.5, 0.0]]
    """
    if count < 1:
        raise ValueError(f"hard_keypoints must be at least 1, got {count}; null keeps all")
    ranked = torch.where(mask, losses.detach(), -torch.inf)
    hardest = ranked.topk(min(count, losses.shape[-1]), dim=-1).indices
    kept = torch.zeros_like(mask).scatter(-1, hardest, True) & mask
    scale = mask.sum(-1, keepdim=True) / kept.sum(-1, keepdim=True).clamp_min(1)
    return torch.where(kept, losses, 0) * scale
