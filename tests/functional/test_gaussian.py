"""Rendered Gaussians follow exp(-d^2 / (2 std^2)), normalized over the grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from softpoint.functional import render_gaussians


def closed_form(mean: tuple[float, float], std: tuple[float, float], xs: list[float], ys: list[float]) -> np.ndarray:
    blob = np.array(
        [
            [math.exp(-((x - mean[0]) ** 2) / (2 * std[0] ** 2) - (y - mean[1]) ** 2 / (2 * std[1] ** 2)) for x in xs]
            for y in ys
        ]
    )
    return blob / blob.sum()


@pytest.mark.parametrize("std", [0.6, 1.0, 2.5])
@pytest.mark.parametrize("mean", [(2.0, 3.0), (0.0, 0.0), (4.7, 1.2), (-3.0, 8.0)])
def test_it_is_the_closed_form(mean: tuple[float, float], std: float):
    result = render_gaussians(torch.tensor(mean, dtype=torch.float64), std, (5, 7))
    np.testing.assert_allclose(result, closed_form(mean, (std, std), [*range(7)], [*range(5)]), rtol=1e-10)


def test_a_tensor_std_is_round_or_has_its_own_x_and_y():
    mean = torch.tensor([[[2.0, 3.0], [1.5, 0.5]]], dtype=torch.float64)
    anisotropic = render_gaussians(mean, torch.tensor([[0.8, 3.0], [2.0, 0.5]]), (5, 7))
    round_ones = render_gaussians(mean, torch.tensor([[0.8], [2.0]]), (5, 7))
    cells = [*range(7)], [*range(5)]
    for k, stds in enumerate([(0.8, 3.0), (2.0, 0.5)]):
        center = tuple(mean[0, k].tolist())
        np.testing.assert_allclose(anisotropic[0, k], closed_form(center, stds, *cells), rtol=1e-6)
        np.testing.assert_allclose(round_ones[0, k], closed_form(center, (stds[0],) * 2, *cells), rtol=1e-6)


def test_normalized_means_and_stds_count_from_minus_one_to_one():
    result = render_gaussians(torch.tensor([0.25, -0.5], dtype=torch.float64), 0.3, (5, 9), normalized=True)
    xs, ys = [-1 + 2 * j / 8 for j in range(9)], [-1 + 2 * i / 4 for i in range(5)]
    np.testing.assert_allclose(result, closed_form((0.25, -0.5), (0.3, 0.3), xs, ys), rtol=1e-10)


@pytest.mark.parametrize("far", [1e3, 1e6, 1e15])
def test_a_mean_far_off_the_grid_is_finite_and_sums_to_one(far: float):
    heatmap = render_gaussians(torch.tensor([[far, -far], [-far, 2.0]]), 1.5, (4, 6))
    assert heatmap.isfinite().all()
    torch.testing.assert_close(heatmap.sum((-2, -1)), torch.ones(2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_dtype_is_that_of_the_mean_and_its_arithmetic_single_at_least(dtype: torch.dtype):
    mean = torch.tensor([300.0, 1.0], dtype=dtype)
    heatmap = render_gaussians(mean, 1.3, (3, 400))
    assert heatmap.dtype == dtype
    exact = render_gaussians(mean.double(), 1.3, (3, 400))
    torch.testing.assert_close(heatmap, exact.to(dtype))


def test_integer_means_are_taken_as_floats():
    torch.testing.assert_close(
        render_gaussians(torch.tensor([1, 2]), 1.5, (4, 4)), render_gaussians(torch.tensor([1.0, 2.0]), 1.5, (4, 4))
    )


@pytest.mark.parametrize("std", [0.0, -1.5])
def test_a_std_that_is_not_positive_is_quoted(std: float):
    with pytest.raises(ValueError, match=f"std must be positive, got {std}"):
        render_gaussians(torch.zeros(2), std, (3, 3))


def test_gradients_are_those_of_finite_differences():
    mean = torch.rand(3, 2, dtype=torch.float64).mul(4).requires_grad_()
    std = torch.rand(3, 2, dtype=torch.float64).add(0.7).requires_grad_()
    assert gradcheck(lambda m, s: render_gaussians(m, s, (4, 5)), (mean, std))
    assert gradcheck(lambda m, s: render_gaussians(m, s[:, :1], (4, 5), normalized=True), (mean, std))
