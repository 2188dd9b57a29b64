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
from softpoint.types import Prediction

# Keeps the predicted scale within a factor of 400 of its start, a quarter of the map's side.
_LIMIT = 6.0


class RegressionHead(Head):
    """Coordinates, and the scale of their errors, by fully connected layers on features pooled to a small grid.

    The position is measured from the center of the map in halves of its sides, and starts there. The error is modeled
    as Laplacian, independent in x and y, with the predicted scale. The layers are not equivariant to translation, so
    this head needs many more labels than the others. Sources: Toshev and Szegedy, DeepPose, arXiv:1312.4659; Kendall
    and Gal, arXiv:1703.04977, for the scale.

    Args:
        in_channels, stride: of the features.
        grid: rows and columns that features of any size are averaged to.
        hidden: width of the hidden layer.
        window: side of the square, in cells, whose probability is the confidence.
        visibility: predict whether each keypoint is absent, occluded or visible, see `SoftArgmaxHead`.

    >>> head = RegressionHead(in_channels=8, num_keypoints=3, stride=4)
    >>> head(torch.rand(1, 8, 12, 16))["keypoints"][0, 0].tolist()
    [31.5, 23.5]
    """

    parts = frozenset({"mean", "log_scale"})

    def __init__(
        self,
        in_channels: int,
        num_keypoints: int,
        stride: int,
        grid: int = 8,
        hidden: int = 256,
        window: int = 9,
        visibility: bool | None = None,
    ) -> None:
        super().__init__(in_channels, num_keypoints, stride, window=window)
        if grid < 1 or hidden < 1:
            raise ValueError(f"head.grid and head.hidden must be at least 1, got {grid} and {hidden}")
        self.grid = grid
        self.hidden = nn.Linear(in_channels * grid * grid, hidden)
        self.last = nn.Linear(hidden, num_keypoints * 3)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        self.set_visibility(visibility)

    def predict(self, features: Float[Tensor, "B C h w"]) -> Prediction:
        """Return the prediction with `mean` (B, K, 2) in cells and `log_scale` (B, K) of its error's scale in cells."""
        height, width = features.shape[-2:]
        hidden = self.hidden(F.adaptive_avg_pool2d(features, self.grid).flatten(1)).relu().float()
        # Multiplied out: autocast would run a matrix product in half precision.
        raw = ((hidden[:, None] * self.last.weight).sum(-1) + self.last.bias).unflatten(-1, (-1, 3))
        size = raw.new_tensor([width, height])
        mean = raw[..., :2] * size / 2 + (size - 1) / 2
        log_scale = _LIMIT * (raw[..., 2] / _LIMIT).tanh() + math.log(max(height, width) / 4)
        identity = torch.eye(2, device=mean.device)
        return {
            "logits": laplace_logits(mean, log_scale, (height, width)),
            "keypoints": grid_to_image(mean, self.stride),
            # P(|x| <= r and |y| <= r) of two independent Laplacian errors.
            "confidence": (1 - (-self.window / 2 / log_scale.exp()).exp()).square(),
            "covariance": 2 * ((log_scale.exp() * self.stride) ** 2)[..., None, None] * identity,
            "mean": mean,
            "log_scale": log_scale,
        }


def laplace_logits(
    mean: Float[Tensor, "B K 2"], log_scale: Float[Tensor, "B K"], size: tuple[int, int]
) -> Float[Tensor, "B K h w"]:
    """Log density per square cell of a Laplacian in x and y about each mean, at the cells of a grid (h, w)."""
    x = (axis_positions(size[1], False, mean) - mean[..., :1]).abs()
    y = (axis_positions(size[0], False, mean) - mean[..., 1:]).abs()
    log_scale = log_scale[..., None, None]
    return -(x[..., None, :] + y[..., :, None]) / log_scale.exp() - 2 * (log_scale + math.log(2))
