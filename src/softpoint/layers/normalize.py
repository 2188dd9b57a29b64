"""Standardization of raw pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Normalize(nn.Module):
    """(image / 255 - mean) / std per channel, for uint8 images or floats already in [0, 1].

    >>> Normalize((0.5,), (0.5,))(torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2)).flatten().tolist()
    [-1.0, 1.0]
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Float[Tensor, "B C H W"]:
        if not image.is_floating_point():
            image = image.to(self.mean.dtype) / 255
        return (image - self.mean) / self.std
