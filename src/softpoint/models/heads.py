"""From a fine feature map to keypoints."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softpoint.functional import (
    grid_to_image,
    spatial_covariance,
    spatial_expectation,
    spatial_softmax,
    window_expectation,
    window_mass,
)
from softpoint.functional.spatial import check_temperature


class SoftArgmaxHead(nn.Module):
    """One logit map per keypoint, read by spatial softmax and soft-argmax.

    Args:
        in_channels, stride: of the features.
        temperature: divides the logits; below 1 sharper, above 1 softer.
        window: odd number of cells about each maximum that the coordinate and the confidence are read from.
        whole_map: take the coordinate from the whole map instead, as plain soft-argmax does.
        visibility: also tell of each keypoint whether it is absent, occluded or visible (`VisibilityReadout`);
            None, which scripts/train.py decides by the labels, counts as False.
    """

    def __init__(
        self,
        in_channels: int,
        num_keypoints: int,
        stride: int,
        temperature: float = 1.0,
        window: int = 9,
        whole_map: bool = False,
        visibility: bool | None = False,
    ) -> None:
        super().__init__()
        check_temperature(temperature)
        self.stride = stride
        self.temperature = temperature
        self.window = window
        self.whole_map = whole_map
        self.logits = nn.Conv2d(in_channels, num_keypoints, 1)
        self.visibility = VisibilityReadout(in_channels, num_keypoints) if visibility else None

    def forward(self, features: Float[Tensor, "B C h w"]) -> dict[str, Tensor]:
        """`logits` (B, K, h, w) after the temperature, and what `decode` reads from them.

        With `visibility`, also `visibility`: the logits (B, K, 3) of absent, occluded and visible.
        """
        logits = self.logits(features) / self.temperature
        prediction = {"logits": logits, **self.decode(logits)}
        if self.visibility is not None:
            prediction["visibility"] = self.visibility(features, logits)
        return prediction

    def decode(self, logits: Float[Tensor, "B K h w"]) -> dict[str, Tensor]:
        """`keypoints` (B, K, 2) in input pixels, `confidence` (B, K), `covariance` (B, K, 2, 2) in px^2.

        Confidence is the heatmap's mass within the window about its maximum, covariance the heatmap's
        second moment; both in float32 whatever the logits are.
        """
        heatmap = spatial_softmax(logits.float())
        cells = spatial_expectation(heatmap) if self.whole_map else window_expectation(heatmap, self.window)
        return {
            "keypoints": grid_to_image(cells, self.stride),
            "confidence": window_mass(heatmap, self.window),
            "covariance": spatial_covariance(heatmap) * self.stride**2,
        }


class VisibilityReadout(nn.Module):
    """Whether each keypoint is absent, occluded or visible, from the features where its heatmap lies.

    One linear layer a keypoint on the features averaged under its heatmap. The heatmap enters without a
    gradient: the features learn to tell visibility, but no map moves for its sake. The weights start at 0 and
    draw no random number, so that a seed starts the rest of a network alike with it and without.
    """

    def __init__(self, in_channels: int, num_keypoints: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_keypoints, 3, in_channels))
        self.bias = nn.Parameter(torch.zeros(num_keypoints, 3))

    def forward(self, features: Float[Tensor, "B C h w"], logits: Float[Tensor, "B K h w"]) -> Float[Tensor, "B K 3"]:
        """Logits of absent, occluded and visible, in float32."""
        heatmap = spatial_softmax(logits.detach().float()).flatten(2)
        here = (heatmap @ features.float().flatten(2).transpose(1, 2)).float()
        # Multiplied out, because autocast would run a matrix product in half precision.
        return (here[:, :, None] * self.weight).sum(-1) + self.bias
