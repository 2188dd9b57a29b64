"""The state of a keypoint, from the features under its heatmap."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softpoint.functional import spatial_softmax


class VisibilityReadout(nn.Module):
    """Logits of absent, occluded and visible, by one linear layer per keypoint on the features under its heatmap.

    The heatmap is the weight of an average, and enters without a gradient: visibility trains the features, but moves
    no map. The weights start at 0 and draw no random number, so that a seed gives the rest of a network the same
    start with this layer and without.
    """

    def __init__(self, in_channels: int, num_keypoints: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_keypoints, 3, in_channels))
        self.bias = nn.Parameter(torch.zeros(num_keypoints, 3))

    def forward(self, features: Float[Tensor, "B C h w"], logits: Float[Tensor, "B K h w"]) -> Float[Tensor, "B K 3"]:
        """Return the logits in float32."""
        heatmap = spatial_softmax(logits.detach().float()).flatten(2)
        pooled = (heatmap @ features.float().flatten(2).transpose(1, 2)).float()
        # Multiplied out, because autocast would run a matrix product in half precision.
        return (pooled[:, :, None] * self.weight).sum(-1) + self.bias
