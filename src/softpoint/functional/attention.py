"""Functions of spatial attention."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def channel_statistics(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 2 H W"]:
    """Mean and maximum over the channels of each pixel, stacked.

    `max`, not `amax`, gives the gradient of tied channels (common after a ReLU) to one of them, as the published block
    does. Raises ValueError for anything but four axes. Source: Woo et al., CBAM, arXiv:1807.06521.

    >>> channel_statistics(torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)).flatten().tolist()
    [2.0, 3.0]
    """
    if x.ndim != 4:
        raise ValueError(f"spatial attention takes features (B, C, H, W), got shape {tuple(x.shape)}")
    return torch.stack((x.mean(1), x.max(1).values), 1)


def gate(logits: Float[Tensor, "..."], temperature: float | Tensor, kind: str) -> Float[Tensor, "..."]:
    """Gate logits / temperature into [0, 1], by the function "sigmoid" or "hardsigmoid".

    >>> gate(torch.tensor([0.0]), 2.0, "hardsigmoid").item()
    0.5
    """
    return GATES[kind](logits / temperature)


GATES: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "hardsigmoid": F.hardsigmoid}
