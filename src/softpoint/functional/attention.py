"""Functions of spatial attention."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from softpoint.kernels.attention import convolve, convolves, read_channels, reads_channels


def channel_statistics(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 2 H W"]:
    """Mean and maximum over the channels of each pixel, stacked.

    `max`, not `amax`, gives the gradient of tied channels (common after a ReLU) to one of them, as the published block
    does. Raises ValueError for anything but four axes. Source: Woo et al., CBAM, arXiv:1807.06521.

    >>> channel_statistics(torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)).flatten().tolist()
    [2.0, 3.0]
    """
    return statistics_and_product(x)[0]


def statistics_and_product(x: Float[Tensor, "B C H W"]) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return the channel statistics, and a function, to call once, that multiplies x by a mask made of them.

    Together they take fewer passes over x than apart, by loops in C++ for float32 on a CPU.

    >>> statistics, product = statistics_and_product(torch.tensor([1.0, 3.0]).view(1, 2, 1, 1))
    >>> product(statistics[:, :1]).flatten().tolist()
    [2.0, 6.0]
    """
    if x.ndim != 4:
        raise ValueError(f"spatial attention takes features (B, C, H, W), got shape {tuple(x.shape)}")
    if reads_channels(x):
        return read_channels(x)
    return torch.stack((x.mean(1), x.max(1).values), 1), lambda mask: x * mask


def convolution_to_one(
    x: Float[Tensor, "B C H W"], weight: Float[Tensor, "1 C k k"], dilation: int = 1
) -> Float[Tensor, "B 1 H W"]:
    """Convolution of maps with one kernel of an odd side, without a change of their size.

    >>> convolution_to_one(torch.ones(1, 1, 1, 3), torch.ones(1, 1, 3, 3)).flatten().tolist()
    [2.0, 3.0, 2.0]
    """
    if convolves(x, weight):
        return convolve(x, weight, dilation)
    return F.conv2d(x, weight, padding=dilation * (weight.shape[-1] // 2), dilation=dilation)


def gate(logits: Float[Tensor, "..."], temperature: float | Tensor, kind: str) -> Float[Tensor, "..."]:
    """Gate logits / temperature into [0, 1], by the function "sigmoid" or "hardsigmoid".

    >>> gate(torch.tensor([0.0]), 2.0, "hardsigmoid").item()
    0.5
    """
    return GATES[kind](logits / temperature)


GATES: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "hardsigmoid": F.hardsigmoid}
