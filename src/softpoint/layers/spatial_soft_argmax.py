"""Spatial softmax and soft-argmax as a layer (Levine et al., arXiv:1504.00702)."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softpoint.functional import soft_argmax
from softpoint.functional.spatial import check_temperature


class SpatialSoftArgmax(nn.Module):
    """Positions (x, y) of the maxima of logit maps, in cells or in [-1, 1].

    Args:
        temperature: divides the logits; below 1 sharper, above 1 softer.
        window: odd number of cells about each maximum that are read; None for the whole map.
        normalized: measure from -1 (first cell center) to 1 (last).
        learnable_temperature: makes the temperature a parameter, kept positive as exp(log_temperature).
        num_keypoints: with a learnable temperature, how many there are; 1 is shared by all maps.

    >>> logits = torch.zeros(1, 2, 5, 5); logits[0, :, 1, 3] = 99
    >>> SpatialSoftArgmax(window=3)(logits)[0].tolist()
    [[3.0, 1.0], [3.0, 1.0]]
    """

    def __init__(
        self,
        temperature: float = 1.0,
        window: int | None = None,
        normalized: bool = False,
        learnable_temperature: bool = False,
        num_keypoints: int = 1,
    ) -> None:
        super().__init__()
        check_temperature(temperature)
        self.window = window
        self.normalized = normalized
        self.log_temperature = nn.Parameter(
            torch.full((num_keypoints, 1, 1), math.log(temperature)), requires_grad=learnable_temperature
        )

    @property
    def temperature(self) -> Float[Tensor, "K 1 1"]:
        """Divisor of the logits, one per map or one for all."""
        return self.log_temperature.exp()

    def forward(self, logits: Float[Tensor, "B K H W"]) -> Float[Tensor, "B K 2"]:
        return soft_argmax(logits, self.temperature, self.window, self.normalized)
