"""Every way to read a heatmap finds what it promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from softpoint.functional import (
    decode_heatmap,
    render_gaussians,
    spatial_expectation,
    spatial_softmax,
    window_expectation,
)
from softpoint.functional.decode import DECODERS, taylor_peak


def places(count: int, height: int, width: int) -> torch.Tensor:
    """Positions (count, 2) anywhere from the map's left and top edge to its right and bottom one."""
    return torch.rand(count, 2, dtype=torch.float64) * torch.tensor([width, height]) - 0.5


def turned(mean: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """An elongated Gaussian (N, H, W) across the axes: covariance [[2, 0.9], [0.9, 1]]."""
    rows, columns = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    offset = torch.stack((columns, rows), -1) - mean[:, None, None]
    inverse = torch.tensor([[2, 0.9], [0.9, 1]], dtype=torch.float64).inverse()
    return (-0.5 * torch.einsum("nhwi,ij,nhwj->nhw", offset, inverse, offset)).exp()


@pytest.mark.parametrize(
    ("method", "std", "limit"),
    [(method, std, 0.002) for method in ("window", "dark") for std in (0.75, 1.25, 2.0)]
    + [("window", std, 0.02) for std in (0.5, 3.0, 4.0)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("floor", [0.0, 0.05])
def test_a_gaussian_is_found_anywhere_alone_and_on_a_floor(
    method: str, std: float, limit: float, dtype: torch.dtype, floor: float
):
    for size in ((8, 8), (16, 12), (40, 50)):
        mean = places(300, *size)
        mean[:4] = torch.tensor([[-0.5, -0.5], [size[1] - 0.5, -0.5], [-0.5, 2.0], [3.0, size[0] - 0.5]])
        heatmap = (1 - floor) * render_gaussians(mean, std, size) + floor / (size[0] * size[1])
        result = decode_heatmap(heatmap.to(dtype), method)
        assert result.dtype == dtype
        assert (result - mean).norm(dim=-1).max() < limit


def test_the_default_is_the_window():
    heatmap = torch.rand(3, 9, 9)
    assert torch.equal(decode_heatmap(heatmap), window_expectation(heatmap, 9))
    assert torch.equal(decode_heatmap(heatmap, window=3), window_expectation(heatmap, 3))


def test_expectation_is_the_mean_of_the_whole_map():
    heatmap = torch.rand(2, 3, 7, 8)
    assert torch.equal(decode_heatmap(heatmap, "expectation"), spatial_expectation(heatmap))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5])
def test_debiased_takes_the_share_of_the_floor_off_the_mean(share: float):
    """A floor of any share pulls the plain mean to the middle by that share, and this one by nothing."""
    size, middle = (30, 40), torch.tensor([19.5, 14.5], dtype=torch.float64)
    mean = 8 + torch.rand(50, 2, dtype=torch.float64) * torch.tensor([23, 13])
    heatmap = (1 - share) * render_gaussians(mean, 1.0, size) + share / (size[0] * size[1])
    pulled = decode_heatmap(heatmap, "expectation")
    torch.testing.assert_close(pulled, (1 - share) * mean + share * middle, rtol=0, atol=1e-6)
    assert (decode_heatmap(heatmap, "debiased") - mean).norm(dim=-1).max() < 0.003


def test_debiased_is_the_plain_mean_of_a_flat_map_and_stays_on_the_map():
    flat = torch.full((3, 5), 1 / 15)
    torch.testing.assert_close(decode_heatmap(flat, "debiased"), torch.tensor([2.0, 1.0]))
    noise = spatial_softmax(0.01 * torch.randn(50, 6, 7))
    result = decode_heatmap(noise, "debiased")
    assert (result >= 0).all() and (result <= torch.tensor([6.0, 5.0])).all()


def test_argmax_is_the_largest_cell():
    heatmap = torch.rand(2, 3, 7, 8)
    result = decode_heatmap(heatmap, "argmax")
    for b, k in np.ndindex(2, 3):
        row, column = np.unravel_index(int(heatmap[b, k].argmax()), (7, 8))
        assert result[b, k].tolist() == [column, row]


def test_dark_is_exact_for_an_elongated_gaussian_across_the_axes():
    mean = places(300, 20, 24)
    assert (taylor_peak(turned(mean, 20, 24)) - mean).norm(dim=-1).max() < 1e-6


def test_dark_is_a_newton_step_from_the_largest_cell():
    # With noise the step differs from the mean of the Gaussian below, but not from the one taken by numpy.
    mean = torch.rand(200, 2, dtype=torch.float64) * 8 + 6
    maps = turned(mean, 20, 20) * (0.05 * torch.randn(200, 20, 20).double()).exp()
    result, compared = taylor_peak(maps).numpy(), 0
    for i, z in enumerate(maps.log().numpy()):
        r, c = np.unravel_index(z.argmax(), z.shape)
        gradient = np.array([z[r, c + 1] - z[r, c - 1], z[r + 1, c] - z[r - 1, c]]) / 2
        xy = (z[r + 1, c + 1] - z[r + 1, c - 1] - z[r - 1, c + 1] + z[r - 1, c - 1]) / 4
        second = np.diff(z[r, c - 1 : c + 2], 2)[0], np.diff(z[r - 1 : r + 2, c], 2)[0]
        step = -np.linalg.solve([[second[0], xy], [xy, second[1]]], gradient)
        if np.linalg.det([[second[0], xy], [xy, second[1]]]) > 0.01 and abs(step).max() < 1:
            compared += 1
            np.testing.assert_allclose(result[i], [c + step[0], r + step[1]], rtol=1e-9)
    assert compared > 150


@pytest.mark.parametrize("maps", [torch.zeros(5, 6), torch.ones(5, 6), torch.ones(2, 2), torch.ones(1, 1)])
def test_dark_stays_at_the_largest_cell_where_there_is_no_summit(maps: torch.Tensor):
    maps = maps.clone().requires_grad_()
    result = taylor_peak(maps)
    assert result.tolist() == [0.0, 0.0]
    result.sum().backward()
    assert maps.grad.isfinite().all()


def test_dark_steps_along_the_axes_that_have_three_cells():
    for height in (1, 2):
        heatmap = render_gaussians(torch.tensor([3.3, height - 1.0]), 1.0, (height, 8))
        assert taylor_peak(heatmap).tolist() == pytest.approx([3.3, height - 1], abs=1e-5)
        assert taylor_peak(heatmap.mT).tolist() == pytest.approx([height - 1, 3.3], abs=1e-5)


def test_dark_never_steps_further_than_a_cell_nor_off_the_map():
    maps = torch.rand(500, 9, 10)
    result = taylor_peak(maps)
    assert ((result - decode_heatmap(maps, "argmax")).abs() <= 1).all()
    assert (result >= -0.5).all() and (result <= torch.tensor([9.5, 8.5])).all()


def test_dark_has_a_gradient_on_wild_maps():
    maps = torch.randn(200, 64, 64).mul(20).flatten(1).softmax(-1).unflatten(1, (64, 64)).requires_grad_()
    result = taylor_peak(maps)
    result.sum().backward()
    assert result.isfinite().all() and maps.grad.isfinite().all()


@pytest.mark.parametrize("method", DECODERS)
def test_any_leading_axes_and_any_float_will_do(method: str):
    heatmap = torch.rand(2, 3, 4, 7, 8)
    result = decode_heatmap(heatmap, method, 5)
    assert result.shape == (2, 3, 4, 2)
    torch.testing.assert_close(decode_heatmap(heatmap[1, 2, 3], method, 5), result[1, 2, 3])
    half = decode_heatmap(heatmap.half(), method, 5)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, decode_heatmap(heatmap.half().float(), method, 5))


@pytest.mark.parametrize("method", ["window", "expectation", "dark", "debiased"])
def test_gradients_are_those_of_finite_differences(method: str):
    mean = torch.tensor([[2.3, 3.1], [-0.4, 5.2], [6.4, -0.3]], dtype=torch.float64)
    heatmap = render_gaussians(mean, 1.2, (6, 7)) + 0.01 * torch.rand(3, 6, 7, dtype=torch.float64)
    assert gradcheck(lambda h: decode_heatmap(h, method), heatmap.requires_grad_(), fast_mode=True)


@pytest.mark.parametrize(
    ("method", "way_out"),
    [
        ("windw", "did you mean 'window'?"),
        ("Dark", "did you mean 'dark'?"),
        ("soft", "choose from window, expectation, argmax, dark, debiased"),
    ],
)
def test_another_method_is_quoted_with_the_way_out(method: str, way_out: str):
    with pytest.raises(ValueError) as caught:
        decode_heatmap(torch.ones(3, 3), method)
    assert repr(method) in str(caught.value) and str(caught.value).endswith(way_out)


@pytest.mark.parametrize("method", DECODERS)
@pytest.mark.parametrize(
    ("window", "way_out"),
    [(8, "8; try 9"), (0, "0; try 1"), (-3, "-3; try 1"), (None, "None"), (3.0, "3.0"), (True, "True")],
)
def test_a_window_that_is_no_odd_number_is_refused_whatever_the_method(
    method: str, window: object, way_out: str, unchecked
):
    with pytest.raises(ValueError, match=f"odd number of cells, got {way_out}$"):
        decode_heatmap(torch.ones(3, 3), method, window)  # type: ignore[arg-type]
