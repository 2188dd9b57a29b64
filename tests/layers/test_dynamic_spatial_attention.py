"""Dynamic Spatial Attention reproduces its published numbers and its own definition, cell by cell."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from softpoint import DynamicSpatialAttention


def convolve(x: np.ndarray, kernel: np.ndarray, dilation: int) -> np.ndarray:
    """Correlation of (C, H, W) with one kernel (C, k, k), zeros outside, by loops over the output."""
    _, height, width = x.shape
    side = kernel.shape[-1]
    result = np.zeros((height, width))
    for i, j, u, v in np.ndindex(height, width, side, side):
        row, column = i + (u - side // 2) * dilation, j + (v - side // 2) * dilation
        if 0 <= row < height and 0 <= column < width:
            result[i, j] += (x[:, row, column] * kernel[:, u, v]).sum()
    return result


def by_hand(x: np.ndarray, state: dict[str, np.ndarray], dilations: list[int], gate: str, temperature: float):
    """The whole block on one image (C, H, W): output, mask and router weights."""
    statistics = np.stack((x.mean(0), x.max(0)))
    pooled = statistics.mean((1, 2))
    hidden = np.maximum(state["router.1.weight"][:, :, 0, 0] @ pooled + state.get("router.1.bias", 0), 0)
    scores = state["router.3.weight"][:, :, 0, 0] @ hidden + state.get("router.3.bias", 0)
    weights = np.exp(scores) / np.exp(scores).sum()
    logits = sum(
        w * convolve(statistics, state[f"branches.{i}.weight"][0], dilation)
        for i, (w, dilation) in enumerate(zip(weights, dilations, strict=True))
    )
    z = logits / temperature
    mask = 1 / (1 + np.exp(-z)) if gate == "sigmoid" else np.clip(z / 6 + 0.5, 0, 1)
    return x * mask, mask, weights


@pytest.mark.parametrize(
    ("settings", "dilations"),
    [
        ({}, [1, 1, 2]),
        ({"gate": "hardsigmoid", "temperature": 0.5}, [1, 1, 2]),
        ({"kernels": (1, 5), "dilated_kernel": 3, "dilated_d": 3, "bias": False}, [1, 1, 3]),
        ({"kernels": (3,), "use_dilated": False, "temperature": 3.0, "learnable_temperature": True}, [1]),
        ({"kernels": (), "router_hidden": 1}, [2]),
    ],
)
def test_it_is_its_definition(settings: dict, dilations: list[int]):
    block = DynamicSpatialAttention(**settings, return_router_weights=True).double()
    state = {key: value.numpy() for key, value in block.state_dict().items()}
    x = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    y, mask, weights = block(x)
    for b in range(2):
        expected = by_hand(
            x[b].numpy(), state, dilations, settings.get("gate", "sigmoid"), settings.get("temperature", 1.0)
        )
        for found, value in zip((y[b], mask[b, 0], weights[b]), expected, strict=True):
            np.testing.assert_allclose(found.detach(), value, rtol=1e-6)


def test_a_seed_gives_the_published_router_weights_and_mask_statistics():
    torch.manual_seed(0)
    x = torch.randn(2, 64, 56, 56)
    with torch.no_grad():
        _, _, weights = DynamicSpatialAttention(return_router_weights=True)(x)
        masks = [DynamicSpatialAttention(temperature=t)(x)[1] for t in (0.5, 1, 2, 5)]
    assert weights[0].tolist() == pytest.approx([0.4861, 0.2412, 0.2727], abs=5e-5)
    assert [m.mean().item() for m in masks] == pytest.approx([0.58098, 0.41935, 0.46876, 0.50826], abs=5e-5)
    assert [m.std().item() for m in masks] == pytest.approx([0.06029, 0.05250, 0.01780, 0.01128], abs=5e-5)


def test_parameters_have_the_published_names_in_order_of_creation():
    router = ["router.1.weight", "router.1.bias", "router.3.weight", "router.3.bias"]
    branches = [f"branches.{i}.weight" for i in range(3)]
    assert [name for name, _ in DynamicSpatialAttention().named_parameters()] == branches + router
    assert [name for name, _ in DynamicSpatialAttention().named_buffers()] == ["T"]
    learnable = DynamicSpatialAttention(learnable_temperature=True)
    assert {name for name, _ in learnable.named_parameters()} == {*branches, *router, "t_raw"}
    assert not [*learnable.named_buffers()]


@pytest.mark.parametrize("learnable", [False, True])
def test_the_order_of_creation_decides_what_a_seed_gives(learnable: bool):
    torch.manual_seed(3)
    convolutions = [torch.nn.Conv2d(2, 1, k, bias=False).weight for k in (3, 7, 7)]
    router = [torch.nn.Conv2d(2, 8, 1).weight, torch.nn.Conv2d(8, 3, 1).weight]
    torch.manual_seed(3)
    block = DynamicSpatialAttention(learnable_temperature=learnable)
    found = [branch.weight for branch in block.branches] + [block.router[1].weight, block.router[3].weight]
    assert all(torch.equal(a, b) for a, b in zip(found, [*convolutions, *router], strict=True))


@pytest.mark.parametrize("temperature", [1e-3, 0.1, 1.0, 30.0, 1e4])
def test_a_learnable_temperature_starts_where_it_is_told(temperature: float):
    block = DynamicSpatialAttention(temperature=temperature, learnable_temperature=True)
    assert block.temperature.item() == pytest.approx(temperature, rel=2e-6)
    y, mask = block(torch.randn(1, 4, 9, 9))
    mask.mean().backward()
    assert y.isfinite().all() and mask.isfinite().all() and block.t_raw.grad.isfinite()


def test_a_learnable_temperature_stays_positive_wherever_training_takes_it():
    block = DynamicSpatialAttention(learnable_temperature=True)
    for raw in (-1e4, -50.0, 0.0, 1e4):
        with torch.no_grad():
            block.t_raw.fill_(raw)
        assert 0.99 * block.eps < block.temperature.item() < math.inf


@pytest.mark.parametrize(("kernel", "side"), [(1, 1), (2, 3), (3, 3), (4, 5), (8, 9)])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("size", [(1, 1), (5, 8), (13, 7)])
def test_kernels_are_odd_and_keep_the_size(kernel: int, side: int, dilation: int, size: tuple[int, int]):
    block = DynamicSpatialAttention((kernel,), dilated_kernel=kernel, dilated_d=dilation)
    assert [branch.weight.shape for branch in block.branches] == [(1, 2, side, side)] * 2
    assert block.branches[1].padding == (dilation * (side - 1) // 2,) * 2
    y, mask = block(torch.randn(2, 3, *size))
    assert y.shape == (2, 3, *size) and mask.shape == (2, 1, *size)
    assert ((mask >= 0) & (mask <= 1)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature must be positive, got 0.0"),
        ({"temperature": -1.5, "learnable_temperature": True}, "temperature must be positive, got -1.5"),
        ({"temperature": math.nan}, "temperature must be positive, got nan"),
        ({"temperature": 1e-7, "learnable_temperature": True}, "exceed eps=1e-06, got 1e-07"),
        ({"gate": "sigmiod"}, "'sigmiod' is unknown; did you mean 'sigmoid'"),
        ({"gate": "relu"}, "'relu' is unknown"),
        ({"router_hidden": 0}, "router_hidden must be at least 1, got 0"),
        ({"kernels": (3, 0)}, "got kernel 0, dilation 1"),
        ({"dilated_kernel": -3}, "got kernel -3, dilation 2"),
        ({"dilated_d": 0}, "got kernel 7, dilation 0"),
        ({"kernels": (), "use_dilated": False}, "at least one branch"),
    ],
)
def test_what_it_cannot_be_is_refused_with_the_value(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        DynamicSpatialAttention(**settings)


@pytest.mark.parametrize("learnable", [False, True])
def test_gradients_are_those_of_finite_differences(learnable: bool):
    block = DynamicSpatialAttention((1, 3), dilated_kernel=3, learnable_temperature=learnable).double()
    x = torch.randn(1, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    parameters = dict(block.named_parameters())

    def mask(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(block, dict(zip(parameters, values, strict=True)), x)[0]

    assert gradcheck(mask, (x, *parameters.values()))
