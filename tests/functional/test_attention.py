"""Channel statistics and gates are the sums and maxima they claim to be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from softpoint.functional import channel_statistics, gate


def test_mean_then_maximum_of_the_channels():
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    result = channel_statistics(x)
    assert result.shape == (2, 2, 3, 4)
    for b, i, j in np.ndindex(2, 3, 4):
        channels = x[b, :, i, j].tolist()
        assert result[b, :, i, j].tolist() == pytest.approx([math.fsum(channels) / 5, max(channels)])


def test_the_gradient_of_tied_channels_goes_to_one_of_them():
    x = torch.zeros(1, 4, 1, 1, requires_grad=True)
    channel_statistics(x)[:, 1].sum().backward()
    assert sorted(x.grad.flatten().tolist()) == [0.0, 0.0, 0.0, 1.0]


def test_features_need_four_axes(unchecked):
    with pytest.raises(ValueError, match=r"features \(B, C, H, W\), got shape \(3, 4, 5\)"):
        channel_statistics(torch.zeros(3, 4, 5))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_gates_divide_by_the_temperature(temperature: float):
    for z in (-20.0, -1.3, 0.0, 0.7, 20.0):
        logits = torch.tensor(z, dtype=torch.float64)
        assert gate(logits, temperature, "sigmoid").item() == pytest.approx(1 / (1 + math.exp(-z / temperature)))
        ramp = min(max(z / temperature / 6 + 0.5, 0), 1)
        assert gate(logits, temperature, "hardsigmoid").item() == pytest.approx(ramp)


def test_gradients_are_those_of_finite_differences():
    x = torch.randn(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(channel_statistics, x)
    for kind in ("sigmoid", "hardsigmoid"):
        assert gradcheck(lambda z, kind=kind: gate(z, 0.7, kind), x)
