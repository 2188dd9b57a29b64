"""The decoder's map lies on the grid its stride says, whatever features it is made from."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from softpoint.models import FusionDecoder


def positions(stride: int, length: int) -> Tensor:
    """Position of each cell's center in the image."""
    return torch.tensor([(i + 0.5) * stride - 0.5 for i in range(length // stride)])


def transparent(strides: tuple[int, ...], stride: int) -> FusionDecoder:
    """A decoder that only enlarges and adds: one channel, weights 1, no convolution after."""
    decoder = FusionDecoder((1,) * len(strides), strides, channels=1, stride=stride)
    for lateral in decoder.laterals:
        nn.init.ones_(lateral.weight)
    decoder.merges = nn.ModuleList(nn.Identity() for _ in decoder.merges)
    decoder.finish = nn.Identity()
    return decoder


@pytest.mark.parametrize("strides", [(4, 8, 16, 32), (8, 32), (32,)])
@pytest.mark.parametrize("stride", [1, 2, 4, 8, 32])
def test_the_output_has_the_stride_and_channels_it_advertises(strides: tuple[int, ...], stride: int):
    decoder = FusionDecoder([s + 1 for s in strides], strides, channels=5, stride=stride).eval()
    y = decoder([torch.randn(2, s + 1, 64 // s, 96 // s) for s in strides])
    assert y.shape == (2, 5, 64 // stride, 96 // stride)
    assert (decoder.out_channels, decoder.stride) == (5, stride)


@pytest.mark.parametrize("strides", [(4, 8, 16, 32), (8, 32), (16,)])
@pytest.mark.parametrize("stride", [1, 2, 4, 8, 16])
def test_a_ramp_of_image_coordinates_stays_one(strides: tuple[int, ...], stride: int):
    decoder = transparent(strides, stride)
    side = 256
    features = [torch.zeros(1, 1, side // s, side // s) for s in strides]
    coarse = positions(strides[-1], side)
    features[-1] = (coarse[:, None] * 1000 + coarse).view(1, 1, len(coarse), -1)
    result, at = decoder(features)[0, 0], positions(stride, side)
    # Beyond the outermost coarse cells there is nothing to interpolate towards.
    inside = (at >= coarse[1]) & (at <= coarse[-2])
    expected = at[:, None] * 1000 + at
    torch.testing.assert_close(result[inside][:, inside], expected[inside][:, inside])


def test_every_used_feature_reaches_the_output_and_finer_ones_are_left_out():
    decoder = FusionDecoder((3, 3, 3), (4, 8, 16), channels=4, stride=8).eval()
    features = [torch.randn(1, 3, 64 // s, 64 // s, requires_grad=True) for s in (4, 8, 16)]
    decoder(features).square().sum().backward()
    assert features[0].grad is None
    assert all(x.grad.abs().sum() > 0 for x in features[1:])


def test_it_commutes_with_shifts_by_the_coarsest_stride():
    strides, stride, side = (4, 8, 16), 4, 256
    decoder = FusionDecoder((2, 2, 2), strides, channels=3, stride=stride).eval()
    features = [torch.randn(1, 2, side // s, side // s) for s in strides]
    y = decoder(features)
    moved = decoder([x.roll((16 // s, 32 // s), (-2, -1)) for x, s in zip(features, strides, strict=True)])
    far = slice(96 // stride, -64 // stride)  # from the seam of the roll and from the border
    torch.testing.assert_close(moved[..., far, far], y.roll((4, 8), (-2, -1))[..., far, far], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stride", [0, 3, -4, 64])
def test_a_stride_out_of_reach_is_quoted(stride: int):
    with pytest.raises(ValueError, match=rf"power of two up to the backbone's 32, got {stride}"):
        FusionDecoder((8, 8), (16, 32), stride=stride)
