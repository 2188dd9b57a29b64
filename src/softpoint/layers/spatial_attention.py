"""The spatial attention of CBAM (Woo et al., arXiv:1807.06521): one convolution, one sigmoid."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from softpoint.functional.attention import convolution_to_one, statistics_and_product


class ConvolutionToOne(nn.Conv2d):
    """A convolution of two channel statistics to one map of their size, with an odd kernel and no bias."""

    def __init__(self, kernel: int, dilation: int = 1) -> None:
        super().__init__(2, 1, kernel, padding=dilation * (kernel - 1) // 2, dilation=dilation, bias=False)

    def forward(self, input: Float[Tensor, "B 2 H W"]) -> Float[Tensor, "B 1 H W"]:
        """Return the map (B, 1, H, W) of statistics (B, 2, H, W)."""
        return convolution_to_one(input, self.weight, self.dilation[0])


class SpatialAttention(nn.Module):
    """Multiplies features by a sigmoid mask per pixel, convolved from their channel mean and maximum.

    Raises ValueError for a kernel that is not a positive odd number.

    >>> import torch
    >>> y, mask = SpatialAttention()(torch.ones(1, 8, 5, 5))
    >>> y.shape, mask.shape
    (torch.Size([1, 8, 5, 5]), torch.Size([1, 1, 5, 5]))
    """

    def __init__(self, kernel: int = 7) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel must be a positive odd number, got {kernel}")
        self.conv = ConvolutionToOne(kernel)

    def forward(self, x: Float[Tensor, "B C H W"]) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, "B 1 H W"]]:
        statistics, product = statistics_and_product(x)
        mask = self.conv(statistics).sigmoid()
        return product(mask), mask
