"""The spatial softmax of robot learning: its published formula, the weights of others, and what it needs to run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers.training import ROOT
from softpoint import SpatialSoftmax, soft_argmax


def by_the_formula(logits: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of one map: positions of a grid in [-1, 1], weighted by exp(logits / temperature)."""
    height, width = logits.shape
    weights = np.exp(logits / temperature)
    weights /= weights.sum()
    mean, second = np.zeros(2), np.zeros((2, 2))
    for row, column in np.ndindex(height, width):
        position = np.array([2 * column / (width - 1) - 1, 2 * row / (height - 1) - 1])
        mean += weights[row, column] * position
        second += weights[row, column] * np.outer(position, position)
    return mean, second - np.outer(mean, mean)


def stored(layer: nn.Module, grid: dict[str, Tensor], temperature: float | None) -> OrderedDict[str, Tensor]:
    """The weights of a layer as another implementation stores them."""
    state = OrderedDict((key, value) for key, value in layer.state_dict().items() if not key.endswith("temperature"))
    state |= grid
    if temperature is not None:
        state["temperature"] = torch.tensor([temperature])
    return state


@pytest.mark.parametrize("num_kp", [None, 5])
@pytest.mark.parametrize("temperature", [1.0, 0.4])
@pytest.mark.parametrize("size", [(6, 7), (9, 3)])
def test_points_and_covariances_are_those_of_the_published_formula(
    num_kp: int | None, temperature: float, size: tuple[int, int]
) -> None:
    features = torch.randn(2, 4, *size)
    layer = SpatialSoftmax((4, 99, 99), num_kp, temperature, output_variance=True).eval()
    logits = features if layer.nets is None else layer.nets(features)
    points, covariance = layer(features)
    assert points.shape == (2, layer.num_kp, 2) and layer.output_shape() == [layer.num_kp, 2]
    for i, k in np.ndindex(*points.shape[:2]):
        mean, spread = by_the_formula(logits[i, k].detach().double().numpy(), temperature)
        np.testing.assert_allclose(points[i, k].detach(), mean, atol=1e-6)
        np.testing.assert_allclose(covariance[i, k].detach(), spread, atol=1e-6)


def test_one_row_is_the_middle() -> None:
    points, covariance = SpatialSoftmax((3, 1, 4), output_variance=True)(torch.randn(1, 3, 1, 4))
    assert (points[..., 1] == 0).all() and (covariance[..., 1] == 0).all()


@pytest.mark.parametrize(
    ("grid", "temperature"),
    [
        ({"pos_grid": torch.rand(30, 2)}, None),  # as LeRobot stores them: its temperature is 1
        ({"pos_x": torch.rand(1, 30), "pos_y": torch.rand(1, 30)}, 0.3),  # as robomimic does
        ({}, 0.7),
    ],
)
@pytest.mark.parametrize("learnable", [False, True])
def test_weights_of_other_implementations_load_also_within_an_encoder(
    grid: dict[str, Tensor], temperature: float | None, learnable: bool
) -> None:
    theirs = SpatialSoftmax((4, 5, 6), 3, temperature or 1.0)
    mine = nn.Sequential(nn.Identity(), SpatialSoftmax((4, 8, 8), 3, 2.0, learnable))
    state = OrderedDict((f"1.{key}", value) for key, value in stored(theirs, grid, temperature).items())
    keys = set(state)
    mine.load_state_dict(state)
    assert set(state) == keys
    features = torch.randn(2, 4, 7, 9)
    torch.testing.assert_close(mine(features), theirs(features))


def test_its_own_weights_load_and_a_missing_temperature_is_missing() -> None:
    layer, other = SpatialSoftmax((4, 5, 6), 3, 0.5, learnable_temperature=True), SpatialSoftmax((4, 5, 6), 3)
    other.load_state_dict(layer.state_dict())
    assert other.soft_argmax.temperature.item() == pytest.approx(0.5)
    with pytest.raises(RuntimeError, match="log_temperature"):
        other.load_state_dict({"nets.weight": layer.nets.weight, "nets.bias": layer.nets.bias})
    with pytest.raises(ValueError, match=r"positive, got -0\.5"):
        other.load_state_dict(stored(layer, {}, -0.5))


def test_noise_has_its_deviation_and_is_for_training_alone() -> None:
    layer, features = SpatialSoftmax((1, 3, 3), noise_std=0.2), torch.zeros(4000, 1, 3, 3)
    noise = layer(features)
    assert noise.std().item() == pytest.approx(0.2, rel=0.05) and abs(noise.mean().item()) < 0.01
    assert layer.eval()(features).abs().max() < 1e-6


def test_a_window_ignores_a_floor_that_draws_the_mean_of_the_map() -> None:
    logits = torch.zeros(1, 1, 15, 15)
    logits[..., 2, 12] = 5.0
    whole, window = SpatialSoftmax((1, 15, 15))(logits), SpatialSoftmax((1, 15, 15), window=5)(logits)
    expected = torch.tensor([[[12 / 7 - 1, 2 / 7 - 1]]])
    torch.testing.assert_close(window, expected)
    torch.testing.assert_close(window, soft_argmax(logits, window=5, normalized=True))
    assert (whole - expected).abs().min() > 0.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_kp": 0}, "num_kp must be at least 1, or None for a point per channel, got 0"),
        ({"noise_std": -0.1}, "noise_std must not be negative, got -0.1"),
        ({"temperature": 0.0}, "temperature must be positive, got 0.0"),
    ],
)
def test_what_cannot_be_is_quoted(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        SpatialSoftmax((4, 5, 5), **arguments)


def test_features_of_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="the features have 3 channels, but input_shape says 4"):
        SpatialSoftmax((4, 5, 5))(torch.zeros(1, 3, 5, 5))


def test_the_layers_need_torch_alone() -> None:
    code = (
        "import sys; sys.modules['numpy'] = None; import torch, jaxtyping; before = {*sys.modules};"
        "from softpoint.layers import SpatialSoftmax; SpatialSoftmax((2, 3, 3))(torch.ones(1, 2, 3, 3));"
        "print(*{name.split('.')[0] for name in {*sys.modules} - before} - {*sys.stdlib_module_names, 'torch'})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "softpoint", result.stderr


def test_the_encoder_of_the_guide_learns_to_point_and_takes_any_size() -> None:
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs/guides/robots.md").read_text("utf-8"), re.DOTALL):
        exec(block, names)
    assert (
        names["features"].shape == (2, 64)
        and (names["encoder"](torch.rand(1, 3, 40, 56), torch.zeros(1, 7)) >= 0).all()
    )
    torch.manual_seed(0)
    policy = nn.Sequential(names["Encoder"](state=1, num_kp=4, out=16), nn.Linear(16, 2))
    optimizer = torch.optim.Adam(policy.parameters(), 0.01)
    losses = []
    for _ in range(40):
        targets = torch.rand(8, 2) * 1.6 - 0.8
        grid = torch.linspace(-1, 1, 16)
        distance = (grid - targets[:, :1]).pow(2)[:, None, :] + (grid - targets[:, 1:]).pow(2)[:, :, None]
        images = (-distance / 0.02).exp()[:, None].expand(-1, 3, -1, -1)
        loss = (policy[1](policy[0](images, torch.zeros(8, 1))) - targets).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # The mean distance of a uniform coordinate from its middle is 0.4.
    assert losses[0] > 0.3 and sum(losses[-10:]) / 10 < 0.15
    old = names["encoder"].points
    new = names["replaced"](old, 32, 16, window=5)
    assert new.soft_argmax.window == 5
    torch.testing.assert_close(new.nets.weight, old.nets.weight)
