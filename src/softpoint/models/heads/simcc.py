"""Coordinates as two classifications, one along each axis (SimCC)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from softpoint.functional import axis_softmax, decode_heatmap, grid_to_image, spatial_covariance, window_mass
from softpoint.functional.spatial import axis_positions
from softpoint.models.heads.head import Head
from softpoint.types import Prediction


class SimCCHead(Head):
    """One distribution along x and one along y per keypoint, over bins finer than a cell.

    The paper flattens the features into a linear layer, which fits one input size and needs many labels. Here one
    logit map per keypoint is reduced along columns and along rows by a log-sum-exp, and each axis is refined to bins
    by a filter over three cells, which starts as linear interpolation. The head is so equivariant to translation and
    takes inputs of any size. Source: Li et al., SimCC, arXiv:2107.03332.

    Args:
        in_channels, stride: of the features.
        bins: per cell and axis; bin j is centered at (j + 1/2) / bins - 1/2 cells.
        decode: method that reads a coordinate from each distribution: window, expectation, argmax or dark.
        window: odd number of cells about each maximum that the coordinate and the confidence are read from.
        visibility: predict whether each keypoint is absent, occluded or visible, see `SoftArgmaxHead`.

    >>> head = SimCCHead(in_channels=8, num_keypoints=3, stride=4, bins=2)
    >>> head(torch.zeros(1, 8, 12, 16))["axis_x"].shape
    torch.Size([1, 3, 32])
    """

    parts = frozenset({"axes", "mean"})

    def __init__(
        self,
        in_channels: int,
        num_keypoints: int,
        stride: int,
        bins: int = 2,
        decode: str = "window",
        window: int = 9,
        visibility: bool | None = None,
    ) -> None:
        super().__init__(in_channels, num_keypoints, stride, decode, window)
        if bins < 1:
            raise ValueError(f"head.bins must be at least 1 per cell, got {bins}")
        self.bins = bins
        self.maps = nn.Conv2d(in_channels, num_keypoints, 1)
        self.refine_x, self.refine_y = (nn.Parameter(_linear(bins).repeat(num_keypoints, 1, 1)) for _ in "xy")
        self.set_visibility(visibility)

    def predict(self, features: Float[Tensor, "B C h w"]) -> Prediction:
        """Return the prediction with the logits `axis_x` (B, K, w * bins) and `axis_y` (B, K, h * bins)."""
        maps = self.maps(features).float()
        return self.read_axes(_refine(maps.logsumexp(-2), self.refine_x), _refine(maps.logsumexp(-1), self.refine_y))

    def read_axes(self, axis_x: Float[Tensor, "B K columns"], axis_y: Float[Tensor, "B K rows"]) -> Prediction:
        """Return the prediction that the logits of both axes give.

        `logits` are those of the product of both distributions, and `mean` (B, K, 2) is its expectation, in cells.
        """
        # An axis is a map of one row.
        axes = [axis_softmax(axis.float(), -1)[..., None, :] for axis in (axis_x, axis_y)]
        window = self.window * self.bins // 2 * 2 + 1
        position = [decode_heatmap(p, self.decode, window)[..., 0] for p in axes]
        mean = [(p[..., 0, :] * axis_positions(p.shape[-1], False, p)).sum(-1) for p in axes]
        variance = [spatial_covariance(p)[..., 0, 0] for p in axes]
        width = self.stride / self.bins
        return {
            "logits": _per_cell(axis_y, self.bins)[..., :, None] + _per_cell(axis_x, self.bins)[..., None, :],
            "keypoints": grid_to_image(torch.stack(position, -1), width),
            "confidence": window_mass(axes[0], window) * window_mass(axes[1], window),
            "covariance": torch.diag_embed(torch.stack(variance, -1)) * width**2,
            "axis_x": axis_x,
            "axis_y": axis_y,
            "mean": grid_to_image(torch.stack(mean, -1), 1 / self.bins),
        }


def _linear(bins: int) -> Float[Tensor, "bins 3"]:
    """Weights of the cell before, a cell and the cell after, in linear interpolation at each bin of that cell."""
    offset = grid_to_image(torch.arange(bins), 1 / bins)
    return torch.stack(((-offset).clamp_min(0), 1 - offset.abs(), offset.clamp_min(0)), -1)


def _refine(axis: Float[Tensor, "B K cells"], weight: Float[Tensor, "K bins 3"]) -> Float[Tensor, "B K n"]:
    """Bins as weighted sums of their cell and its two neighbors; the cells at the ends are repeated beyond them."""
    near = F.pad(axis, (1, 1), mode="replicate").unfold(-1, 3, 1)
    # Multiplied out, because autocast would run a matrix product in half precision.
    return (near[..., None, :] * weight[:, None]).sum(-1).flatten(-2)


def _per_cell(axis: Float[Tensor, "*batch n"], bins: int) -> Float[Tensor, "*batch cells"]:
    """Log-probabilities of whole cells."""
    log_p: Tensor = axis.log_softmax(-1).unflatten(-1, (-1, bins))
    return log_p.logsumexp(-1)
