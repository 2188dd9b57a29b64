"""What the features under a heatmap say about the state of its keypoint."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softpoint.functional import spatial_softmax


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
