"""The weighted parabola is that of numpy, and a vertex is only believed where the data show one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from softpoint.functional.parabola import fit_parabola, height, vertex

X = torch.arange(-4.0, 5.0, dtype=torch.float64)


def test_it_is_the_weighted_least_squares_fit_of_numpy():
    weight, y = torch.rand(20, 9, dtype=torch.float64), torch.randn(20, 9, dtype=torch.float64)
    fit, places = fit_parabola(weight, y, X), torch.linspace(-20, 20, 7, dtype=torch.float64)
    for i in range(20):
        # numpy weighs residuals before squaring.
        expected = np.polyfit(X.numpy(), y[i].numpy(), 2, w=weight[i].sqrt().numpy())
        np.testing.assert_allclose(height(fit, places)[i], np.polyval(expected, places.numpy()), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("place", [-7.0, -0.3, 0.0, 2.5, 9.0])
def test_the_vertex_of_an_exact_parabola_is_found_wherever_it_is(place: float):
    weight = torch.rand(9, dtype=torch.float64)
    fit = fit_parabola(weight, 3 - 0.2 * (X - place) ** 2, X)
    assert vertex(fit, reach=9).item() == pytest.approx(place, abs=1e-6)
    assert fit.noise.item() < 1e-20


@pytest.mark.parametrize("y", [0 * X, 2 * X, X**2])
def test_without_a_maximum_the_answer_is_the_weighted_mean(y: torch.Tensor):
    weight = torch.rand(9, dtype=torch.float64)
    mean = (weight * X).sum() / weight.sum()
    assert vertex(fit_parabola(weight, y, X), reach=9).item() == pytest.approx(mean.item(), abs=1e-4)


@pytest.mark.parametrize("cells", [[4], [3, 4]])
def test_one_or_two_places_make_no_parabola(cells: list[int]):
    weight = torch.zeros(9).double()
    weight[cells] = torch.tensor([0.7, 0.3][: len(cells)]).double()
    mean = (weight * X).sum() / weight.sum()
    assert vertex(fit_parabola(weight, torch.randn(9).double(), X), reach=9).item() == pytest.approx(mean.item())


def unweighted(y: torch.Tensor, reach: float) -> float:
    return vertex(fit_parabola(torch.ones(9).double(), y, X), reach).item()


@pytest.mark.parametrize("size", [0.5, 2.0, 8.0])
def test_noise_draws_the_vertex_to_the_mean_as_far_as_it_explains_the_curvature(size: float):
    noise = torch.randn(9).double()
    noise -= torch.from_numpy(np.polyval(np.polyfit(X.numpy(), noise.numpy(), 2), X.numpy()))
    # Unweighted, and centered on 0: the square without its mean is the last power.
    curvature = (0.3 * (X**2 - (X**2).mean())).square().sum()
    chance = (size * noise).square().mean()
    expected = 3 * curvature / (curvature + chance)
    assert unweighted(-0.3 * (X - 3) ** 2 + size * noise, 7) == pytest.approx(expected.item())


def test_a_parabola_flatter_than_the_reach_is_drawn_to_the_mean():
    flat = -0.004 * (X - 3) ** 2
    assert unweighted(flat, 12) == pytest.approx(3, abs=1e-6)
    assert 0 < unweighted(flat, 4) < unweighted(flat, 8) < 2.9
