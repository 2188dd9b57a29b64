"""One logit map per keypoint."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from softpoint.functional.spatial import check_temperature, widen
from softpoint.models.heads.head import Head
from softpoint.types import Prediction


class SoftArgmaxHead(Head):
    """One logit map per keypoint, read by spatial softmax and soft-argmax.

    Args:
        in_channels, stride: of the features.
        temperature: divides the logits; below 1 sharper, above 1 softer.
        learnable_temperature: make it a parameter, one per keypoint, kept positive by a softplus.
        decode: method that reads a coordinate from the heatmap: window, expectation (of the whole map, as plain
            soft-argmax does), argmax or dark.
        window: odd number of cells about each maximum that the coordinate and the confidence are read from.
        visibility: predict whether each keypoint is absent, occluded or visible (`VisibilityReadout`); None leaves
            it to the training, which does where the labels distinguish states.

    >>> head = SoftArgmaxHead(in_channels=8, num_keypoints=3, stride=4, temperature=2.5, learnable_temperature=True)
    >>> head(torch.zeros(1, 8, 16, 16))["keypoints"].shape, head.temperature.flatten().tolist()
    (torch.Size([1, 3, 2]), [2.5, 2.5, 2.5])
    """

    def __init__(
        self,
        in_channels: int,
        num_keypoints: int,
        stride: int,
        temperature: float = 1.0,
        learnable_temperature: bool = False,
        decode: str = "window",
        window: int = 9,
        visibility: bool | None = None,
    ) -> None:
        super().__init__(in_channels, num_keypoints, stride, decode, window)
        check_temperature(temperature)
        self.logits = nn.Conv2d(in_channels, num_keypoints, 1)
        self.fixed_temperature, self.raw_temperature = temperature, None
        if learnable_temperature:
            # softplus^-1(t) = log(exp(t) - 1), written so that a large t does not overflow.
            raw = temperature + math.log(-math.expm1(-temperature))
            self.raw_temperature = nn.Parameter(torch.full((num_keypoints, 1, 1), raw))
        self.set_visibility(visibility)

    @property
    def temperature(self) -> float | Tensor:
        """Divisor of the logits: a number, or (K, 1, 1) where it is learned."""
        return self.fixed_temperature if self.raw_temperature is None else F.softplus(self.raw_temperature)

    def predict(self, features: Float[Tensor, "B C h w"]) -> Prediction:
        """Return the prediction read from the logits, after the temperature."""
        return self.read(widen(self.logits(features)) / self.temperature)  # half precision ends at 65504
