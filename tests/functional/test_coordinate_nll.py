"""The negative log likelihood is that of the densities it names, and comes back from any scale."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from softpoint.functional import coordinate_nll


def density(name: str, d: float, scale: float) -> float:
    if name == "laplace":
        return math.exp(-abs(d) / scale) / (2 * scale)
    return math.exp(-(d**2) / (2 * scale**2)) / (scale * math.sqrt(2 * math.pi))


@pytest.mark.parametrize("name", ["laplace", "gaussian"])
def test_it_is_the_log_of_the_product_of_two_densities(name: str):
    prediction, target = torch.randn(2, 4, 3, 2, dtype=torch.float64).mul(3).unbind(0)
    log_scale = torch.randn(4, 3, dtype=torch.float64)
    result = coordinate_nll(prediction, target, log_scale, density=name)
    for i in np.ndindex(4, 3):
        dx, dy = (prediction[i] - target[i]).tolist()
        scale = math.exp(log_scale[i].item())
        assert result[i].item() == pytest.approx(-math.log(density(name, dx, scale) * density(name, dy, scale)))


@pytest.mark.parametrize("name", ["laplace", "gaussian"])
def test_its_gradients_are_those_of_finite_differences(name: str):
    prediction, target = torch.randn(2, 5, 2, dtype=torch.float64).unbind(0)
    log_scale = torch.randn(5, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda p, s: coordinate_nll(p, target, s, name), (prediction.requires_grad_(), log_scale))


@pytest.mark.parametrize("name", ["laplace", "gaussian"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_scale_gone_astray_is_finite_and_led_back(name: str, dtype: torch.dtype):
    # A gradient in float16 ends at 65504.
    far = 1e4 if dtype != torch.float16 else 60.0 if name == "laplace" else 3.0
    prediction = torch.tensor([[3.0, 2.0], [far, -far], [3.0, 2.0]], dtype=dtype, requires_grad=True)
    log_scale = torch.tensor([-1e4, -1e4, 1e4], dtype=dtype, requires_grad=True)
    loss = coordinate_nll(prediction, torch.zeros(3, 2), log_scale, name)
    loss.sum().backward()
    assert loss.dtype == torch.float32 and loss.isfinite().all()
    assert prediction.grad.isfinite().all() and log_scale.grad.isfinite().all()
    assert (log_scale.grad[:2] < 0).all() and log_scale.grad[2] > 0


def test_another_density_is_refused():
    with pytest.raises(ValueError, match="density must be 'laplace' or 'gaussian', got 'cauchy'"):
        coordinate_nll(torch.zeros(2), torch.zeros(2), torch.tensor(0.0), density="cauchy")
