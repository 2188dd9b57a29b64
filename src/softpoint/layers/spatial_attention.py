"""The spatial attention of CBAM (Woo et al., arXiv:1807.06521): one convolution, one sigmoid."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from softpoint.functional.attention import channel_statistics


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
        self.conv = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Float[Tensor, "B C H W"]) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, "B 1 H W"]]:
        mask = self.conv(channel_statistics(x)).sigmoid()
        return x * mask, mask
