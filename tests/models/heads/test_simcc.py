"""Two distributions along the axes, on bins of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from softpoint.functional import axis_softmax, image_to_grid, spatial_softmax
from softpoint.models import SimCCHead


def head(bins: int = 2, stride: int = 4, **settings) -> SimCCHead:
    return SimCCHead(in_channels=2, num_keypoints=3, stride=stride, bins=bins, **settings)


def gaussian_axis(mean: np.ndarray, std: float, bins: int, cells: int) -> torch.Tensor:
    """Log density of Gaussians (std in cells) at the middles of the bins, in double precision: (1, len(mean), n)."""
    edges = np.linspace(-0.5, cells - 0.5, cells * bins + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    return torch.from_numpy(-((middles - mean[:, None]) ** 2) / (2 * std**2))[None]


@pytest.mark.parametrize(("bins", "stride"), [(1, 4), (2, 4), (4, 4), (1, 8), (4, 8), (2, 2)])
@pytest.mark.parametrize("decode", ["window", "expectation", "argmax", "dark"])
def test_a_sure_bin_decodes_to_the_middle_of_its_pixels(bins: int, stride: int, decode: str):
    x, y = torch.full((1, 1, 11 * bins), -1e4), torch.full((1, 1, 9 * bins), -1e4)
    x[..., 7], y[..., 9 * bins - 1] = 1e4, 1e4
    result = head(bins, stride, decode=decode).read_axes(x, y)
    width = stride // bins
    pixels = [np.arange(i * width, (i + 1) * width).mean() for i in (7, 9 * bins - 1)]
    torch.testing.assert_close(result["keypoints"][0, 0], torch.tensor(pixels, dtype=torch.float32))
    torch.testing.assert_close(result["mean"], image_to_grid(result["keypoints"], stride))
    assert result["confidence"].item() == 1.0 and torch.equal(result["covariance"], torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize("bins", [1, 2, 4])
@pytest.mark.parametrize("std", [0.75, 1.25, 2.0])
def test_a_gaussian_anywhere_decodes_within_a_fiftieth_of_a_cell(bins: int, std: float):
    x, y = np.linspace(-0.5, 47.5, 301), np.linspace(31.5, -0.5, 301)
    result = head(bins).read_axes(gaussian_axis(x, std, bins, 48).float(), gaussian_axis(y, std, bins, 32).float())
    error = image_to_grid(result["keypoints"].double().numpy(), 4)[0] - np.stack((x, y), -1)
    assert np.abs(error).max() < 0.02
    inside = (np.minimum(x, 47 - x) > 5 * std) & (np.minimum(y, 31 - y) > 5 * std)
    assert inside.any()
    variance = result["covariance"][0].diagonal(dim1=-2, dim2=-1)[inside]
    np.testing.assert_allclose(variance, 16 * std**2, rtol=2e-3)
    np.testing.assert_allclose(result["mean"][0, inside], np.stack((x, y), -1)[inside], atol=2e-3)


def test_logits_are_those_of_the_product_of_both_axes():
    result = head(bins=3)(torch.randn(2, 2, 5, 6))
    heatmap = spatial_softmax(result["logits"])
    x = axis_softmax(result["axis_x"], -1).unflatten(-1, (6, 3)).sum(-1)
    y = axis_softmax(result["axis_y"], -1).unflatten(-1, (5, 3)).sum(-1)
    torch.testing.assert_close(heatmap, y[..., :, None] * x[..., None, :])


@pytest.mark.parametrize("bins", [1, 2, 3])
def test_axes_start_as_interpolated_logsumexps(bins: int):
    reader, features = head(bins), torch.randn(1, 2, 5, 6)
    result, maps = reader(features), np.exp(reader.maps(features).detach().double().numpy()[0])
    for axis, sums in (("axis_x", np.log(maps.sum(1))), ("axis_y", np.log(maps.sum(2)))):
        middles = (np.arange(sums.shape[1] * bins) + 0.5) / bins - 0.5
        for k in range(3):
            expected = np.interp(middles, np.arange(sums.shape[1]), sums[k])
            np.testing.assert_allclose(result[axis][0, k].detach(), expected, atol=1e-5)


def test_each_axis_of_each_keypoint_learns_its_own_filter():
    reader = head(bins=2)
    result = reader(torch.randn(1, 2, 5, 6))
    result["axis_x"][:, 1].square().sum().backward()
    assert reader.refine_y.grad is None
    assert (reader.refine_x.grad.abs().sum((1, 2)) > 0).tolist() == [False, True, False]


def test_confidence_is_the_mass_within_the_window_of_both_axes():
    reader = head(bins=2, window=5)
    x, y = gaussian_axis(np.array([20.25]), 1.5, 2, 40), gaussian_axis(np.array([9.75]), 1.5, 2, 30)
    result = reader.read_axes(x.float(), y.float())
    masses = [p[0, 0, peak - 5 : peak + 6].sum() for p, peak in ((x.softmax(-1), 41), (y.softmax(-1), 20))]
    assert result["confidence"].item() == pytest.approx((masses[0] * masses[1]).item(), rel=1e-5)


@pytest.mark.parametrize("bins", [0, -2])
def test_a_cell_needs_a_bin(bins: int):
    with pytest.raises(ValueError, match=f"at least 1 per cell, got {bins}"):
        head(bins)
