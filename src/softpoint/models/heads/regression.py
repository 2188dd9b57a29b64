"""Coordinates from a fully connected layer."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from softpoint.functional import grid_to_image
from softpoint.functional.spatial import axis_positions
from softpoint.models.heads.head import Head
from softpoint.models.heads.visibility import VisibilityReadout

# Keeps the predicted scale within a factor of 400 of its start, a quarter of the map's side.
_LIMIT = 6.0


class RegressionHead(Head):
    """Coordinates, and how far off they may be, by fully connected layers on features pooled to a small grid.

    The position is measured from the middle of the map in halves of its sides, and starts there. The error is
    taken for Laplacian, alike in x and y, with the predicted scale. Knowing no translation, this head wants many
    more labels than the others. Sources: Toshev and Szegedy, DeepPose, arXiv:1312.4659; Kendall and Gal,
    arXiv:1703.04977, for the scale.

    Args:
        in_channels, stride: of the features.
        grid: rows and columns that features of any size are averaged to.
        hidden: width of the hidden layer.
        window: side of the square, in cells, whose probability is the confidence.
        visibility: also tell of each keypoint whether it is absent, occluded or visible (`VisibilityReadout`).

    >>> head = RegressionHead(in_channels=8, num_keypoints=3, stride=4)
    >>> head(torch.rand(1, 8, 12, 16))["keypoints"][0, 0].tolist()
    [31.5, 23.5]
    """

    own = frozenset({"mean", "log_scale"})

    def __init__(
        self,
        in_channels: int,
        num_keypoints: int,
        stride: int,
        grid: int = 8,
        hidden: int = 256,
        window: int = 9,
        visibility: bool | None = False,
    ) -> None:
        super().__init__(stride, window=window)
        if grid < 1 or hidden < 1:
            raise ValueError(f"head.grid and head.hidden must be at least 1, got {grid} and {hidden}")
        self.grid = grid
        self.hidden = nn.Linear(in_channels * grid * grid, hidden)
        self.last = nn.Linear(hidden, num_keypoints * 3)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        self.visibility = VisibilityReadout(in_channels, num_keypoints) if visibility else None

    def predict(self, features: Float[Tensor, "B C h w"]) -> dict[str, Tensor]:
        """`mean` (B, K, 2) in cells, `log_scale` (B, K) of its error's scale in cells, and what follows from both."""
        height, width = features.shape[-2:]
        hidden = self.hidden(F.adaptive_avg_pool2d(features, self.grid).flatten(1)).relu().float()
        # Multiplied out, because autocast would run a matrix product in half precision.
        found = ((hidden[:, None] * self.last.weight).sum(-1) + self.last.bias).unflatten(-1, (-1, 3))
        size = found.new_tensor([width, height])
        mean = found[..., :2] * size / 2 + (size - 1) / 2
        log_scale = _LIMIT * (found[..., 2] / _LIMIT).tanh() + math.log(max(height, width) / 4)
        return {
            "mean": mean,
            "log_scale": log_scale,
            "logits": laplace_logits(mean, log_scale, (height, width)),
            "keypoints": grid_to_image(mean, self.stride),
            # P(|x| <= r and |y| <= r) of two independent Laplacian errors.
            "confidence": (1 - (-self.window / 2 / log_scale.exp()).exp()).square(),
            "covariance": 2
            * ((log_scale.exp() * self.stride) ** 2)[..., None, None]
            * torch.eye(2, device=mean.device),
        }


def laplace_logits(
    mean: Float[Tensor, "B K 2"], log_scale: Float[Tensor, "B K"], size: tuple[int, int]
) -> Float[Tensor, "B K h w"]:
    """Log density, per square cell, of a Laplacian in x and y about each mean, at the cells of a grid (h, w)."""
    x = (axis_positions(size[1], False, mean) - mean[..., :1]).abs()
    y = (axis_positions(size[0], False, mean) - mean[..., 1:]).abs()
    log_scale = log_scale[..., None, None]
    return -(x[..., None, :] + y[..., :, None]) / log_scale.exp() - 2 * (log_scale + math.log(2))
