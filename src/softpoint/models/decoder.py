"""The decoder: a pyramid of features fused to one fine map."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class FusionDecoder(nn.Module):
    """Top-down fusion to one map at `stride`: each coarser map is enlarged and added to the next finer one.

    Bilinear enlargement by pixel centers keeps every map on the grid of its stride. A stride finer than that of the
    finest feature is reached by enlarging further. Source: Lin et al., Feature Pyramid Networks, arXiv:1612.03144.

    Args:
        in_channels, in_strides: of the features, finest first.
        channels: of every fused map, and of the output.
        stride: of the output; a power of two at most the coarsest feature's.

    >>> import torch
    >>> decoder = FusionDecoder(in_channels=(16, 32), in_strides=(8, 16), channels=24, stride=4)
    >>> decoder([torch.zeros(1, 16, 8, 8), torch.zeros(1, 32, 4, 4)]).shape
    torch.Size([1, 24, 16, 16])
    """

    def __init__(
        self, in_channels: Sequence[int], in_strides: Sequence[int], channels: int = 32, stride: int = 4
    ) -> None:
        super().__init__()
        if stride < 1 or stride & (stride - 1) or stride > in_strides[-1]:
            raise ValueError(
                f"decoder.stride must be a power of two up to the backbone's {in_strides[-1]}, got {stride}"
            )
        used = [i for i, s in enumerate(in_strides) if s >= stride]
        self.skip = used[0]
        self.stride = stride
        self.out_channels = channels
        self.laterals = nn.ModuleList(nn.Conv2d(in_channels[i], channels, 1, bias=False) for i in used)
        self.merges = nn.ModuleList(_conv(channels) for _ in used)
        self.enlarge = in_strides[self.skip] // stride
        self.finish = _conv(channels) if self.enlarge > 1 else nn.Identity()

    def forward(self, features: list[Float[Tensor, "B _ _ _"]]) -> Float[Tensor, "B C h w"]:
        features = features[self.skip :]
        x: Tensor = self.merges[-1](self.laterals[-1](features[-1]))
        for i in range(len(features) - 2, -1, -1):
            lateral = self.laterals[i](features[i])
            x = F.interpolate(x, size=lateral.shape[-2:], mode="bilinear", align_corners=False)
            x = self.merges[i](x + lateral)
        if self.enlarge > 1:
            x = F.interpolate(x, scale_factor=float(self.enlarge), mode="bilinear", align_corners=False)
        y: Tensor = self.finish(x)
        return y


def _conv(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
    )
