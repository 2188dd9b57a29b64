"""The soft-argmax layer decodes as the function does, and its temperature learns per keypoint."""

from __future__ import annotations

import pytest
import torch

from softpoint import SpatialSoftArgmax, soft_argmax


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("normalized", [False, True])
def test_it_is_the_function(window: int | None, normalized: bool):
    logits = torch.randn(2, 3, 7, 8)
    layer = SpatialSoftArgmax(0.5, window, normalized)
    torch.testing.assert_close(layer(logits), soft_argmax(logits, 0.5, window, normalized))


def test_each_keypoint_learns_its_own_temperature():
    layer = SpatialSoftArgmax(2.0, learnable_temperature=True, num_keypoints=3)
    torch.testing.assert_close(layer.temperature, torch.full((3, 1, 1), 2.0))
    positions = layer(torch.randn(2, 3, 5, 5))
    positions[:, 1].sum().backward()
    gradient = layer.log_temperature.grad.flatten()
    assert gradient[1] != 0 and gradient[0] == gradient[2] == 0


def test_a_fixed_temperature_is_stored_but_does_not_learn():
    layer = SpatialSoftArgmax(3.0)
    assert not [p for p in layer.parameters() if p.requires_grad]
    other = SpatialSoftArgmax()
    other.load_state_dict(layer.state_dict())
    assert other.temperature.item() == pytest.approx(3.0)


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_that_is_not_positive_is_quoted(temperature: float):
    with pytest.raises(ValueError, match=f"positive, got {temperature}"):
        SpatialSoftArgmax(temperature)
