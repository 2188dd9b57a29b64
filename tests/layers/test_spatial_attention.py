"""CBAM's spatial attention is one convolution of the channel statistics and a sigmoid."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from softpoint.layers import SpatialAttention


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_it_is_its_definition(kernel: int):
    block, x = SpatialAttention(kernel), torch.randn(2, 5, 6, 9)
    statistics = torch.cat((x.sum(1, keepdim=True) / 5, x.sort(1).values[:, -1:]), 1)
    patches = F.unfold(statistics, kernel, padding=kernel // 2)  # (B, 2 k^2, H W)
    expected = 1 / (1 + (-(block.conv.weight.view(1, -1) @ patches)).exp()).view(2, 1, 6, 9)
    y, mask = block(x)
    torch.testing.assert_close(mask, expected)
    torch.testing.assert_close(y, x * expected)


@pytest.mark.parametrize("kernel", [0, 4, -3])
def test_a_kernel_that_is_not_odd_is_quoted(kernel: int):
    with pytest.raises(ValueError, match=f"positive odd number, got {kernel}"):
        SpatialAttention(kernel)
