"""One logit map per keypoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from softpoint.functional.spatial import check_temperature, widen
from softpoint.models.heads.head import Head
from softpoint.types import Prediction


class SoftArgmaxHead(Head):
    """One logit map per keypoint, read by spatial softmax and soft-argmax.

    With several `scales` the map is a sum from the top down: features averaged over squares of so many cells give
    logits of their own, which are enlarged and added to those of the next finer scale; a square that the border cuts is
    the mean of the finer scale's squares there. So the heatmap is the product of one softmax per scale, an idea of
    arXiv:2606.15232. The weights of coarse scales start at 0 and draw no random number, so that a seed starts as with
    the finest scale alone.

    Args:
        in_channels, stride: of the features.
        temperature: divides the logits; below 1 sharper, above 1 softer.
        learnable_temperature: make it a parameter, one per keypoint, kept positive by a softplus.
        decode: method that reads a coordinate from the heatmap: window, expectation (of the whole map, as plain
            soft-argmax does), argmax or dark.
        window: odd number of cells about each maximum that the coordinate and the confidence are read from.
        visibility: predict whether each keypoint is absent, occluded or visible (`VisibilityReadout`); None leaves
            it to the training, which does where the labels distinguish states.
        scales: sides, in cells, of the squares whose mean features are read: 1, and multiples of the one before.

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
        scales: Sequence[int] = (1,),
    ) -> None:
        super().__init__(in_channels, num_keypoints, stride, decode, window)
        check_temperature(temperature)
        whole = isinstance(scales, Sequence) and scales[:1] in ([1], (1,)) and all(type(one) is int for one in scales)
        steps = [*pairwise(scales)] if whole else []
        if not whole or any(coarse <= fine or coarse % fine for fine, coarse in steps):
            shown = [*scales] if isinstance(scales, Sequence) else scales
            raise ValueError(
                f"head.scales must begin with 1, each a multiple of the one before, as [1,2,4], got {shown}"
            )
        self.logits = nn.Conv2d(in_channels, num_keypoints, 1)
        self.factors = [coarse // fine for fine, coarse in steps]
        self.coarse = nn.ParameterList(torch.zeros(num_keypoints, in_channels, 1, 1) for _ in self.factors)
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
        logits = widen(self.logits(features))  # half precision ends at 65504
        if self.factors:
            logits = logits + self.coarse_logits(features, 0)
        if self.raw_temperature is not None or self.temperature != 1:
            logits = logits / self.temperature
        # Maps are read without gaps, and a network's convolutions leave their channels last.
        return self.read(logits.contiguous())

    def coarse_logits(self, features: Float[Tensor, "B C h w"], scale: int) -> Float[Tensor, "B K h w"]:
        """Return the logits of a coarse scale and those above it, enlarged to the map of the finer `features`."""
        height, width = features.shape[-2:]
        factor = self.factors[scale]
        pooled = F.avg_pool2d(features, factor, ceil_mode=True, count_include_pad=False)
        logits = widen(F.conv2d(pooled, self.coarse[scale]))
        if scale + 1 < len(self.factors):
            logits = logits + self.coarse_logits(pooled, scale + 1)
        logits = F.interpolate(logits, scale_factor=float(factor), mode="bilinear", align_corners=False)
        return logits[..., :height, :width]
