"""Channel statistics give the gradient of ties to one channel; their values are tested with the attention blocks."""

from __future__ import annotations

import pytest
import torch

from softpoint.functional import channel_statistics


def test_the_gradient_of_tied_channels_goes_to_one_of_them():
    x = torch.zeros(1, 4, 1, 1, requires_grad=True)
    channel_statistics(x)[:, 1].sum().backward()
    assert sorted(x.grad.flatten().tolist()) == [0.0, 0.0, 0.0, 1.0]


def test_features_need_four_axes(unchecked):
    with pytest.raises(ValueError, match=r"features \(B, C, H, W\), got shape \(3, 4, 5\)"):
        channel_statistics(torch.zeros(3, 4, 5))
