"""The head reads keypoints, confidence and covariance in input pixels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from softpoint.functional import render_gaussians
from softpoint.models import SoftArgmaxHead
from softpoint.models.heads import VisibilityReadout


def head(stride: int = 4, **settings) -> SoftArgmaxHead:
    return SoftArgmaxHead(in_channels=2, num_keypoints=3, stride=stride, **settings)


def test_covariance_is_in_squared_pixels_and_confidence_a_mass():
    heatmap = render_gaussians(torch.tensor([[[20.0, 20.0]]], dtype=torch.float64), torch.tensor([1.0, 2.0]), (41, 41))
    result = head(4, window=3).read(heatmap.log().clamp_min(-1e4))
    torch.testing.assert_close(result["covariance"][0, 0], torch.tensor([[16.0, 0], [0, 64.0]]), atol=1e-3, rtol=1e-4)
    assert result["confidence"].item() == pytest.approx(heatmap[0, 0, 19:22, 19:22].sum().item(), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.25, 3.0])
def test_temperature_divides_the_logits(temperature: float):
    plain, scaled = head(), head(temperature=temperature)
    scaled.load_state_dict(plain.state_dict())
    x = torch.randn(2, 2, 5, 6)
    torch.testing.assert_close(scaled(x)["logits"], plain(x)["logits"] / temperature)


def test_a_small_temperature_does_not_end_half_precision():
    cold = head(temperature=0.01)
    torch.nn.init.constant_(cold.logits.bias, 700.0)
    with torch.autocast("cpu", torch.float16):
        prediction = cold(torch.randn(1, cold.logits.in_channels, 8, 8))
    assert all(value.isfinite().all() for value in prediction.values())


@pytest.mark.parametrize("temperature", [0.0, -2.0])
def test_a_temperature_that_is_not_positive_is_quoted(temperature: float):
    with pytest.raises(ValueError, match=f"positive, got {temperature}"):
        head(temperature=temperature)


def test_its_parameters_are_those_of_one_convolution():
    assert set(head().state_dict()) == {"logits.weight", "logits.bias"}


@pytest.mark.parametrize("temperature", [1e-4, 0.3, 1.0, 7.5, 25.0, 1e4])
def test_a_learnable_temperature_starts_exactly(temperature: float):
    learned = head(temperature=temperature, learnable_temperature=True)
    assert learned.temperature.shape == (3, 1, 1)
    torch.testing.assert_close(learned.temperature, torch.full((3, 1, 1), temperature), rtol=3e-6, atol=0)
    plain, x = head(temperature=temperature), torch.randn(2, 2, 5, 6)
    plain.load_state_dict({key: value for key, value in learned.state_dict().items() if "temperature" not in key})
    torch.testing.assert_close(learned(x)["logits"], plain(x)["logits"], rtol=1e-5, atol=0)


def test_each_keypoint_learns_its_own_temperature_and_it_stays_positive():
    learned, x = head(learnable_temperature=True), torch.randn(2, 2, 5, 6)
    (learned(x)["logits"] * torch.tensor([1.0, 0.0, -1.0])[:, None, None]).square().sum().backward()
    slope = learned.raw_temperature.grad.flatten()
    assert slope[1] == 0 and (slope[[0, 2]] < 0).all()  # a hotter map is a flatter one
    learned.raw_temperature.data.fill_(-50.0)
    assert (learned.temperature > 0).all()


def test_visibility_is_read_from_the_features_under_the_heatmap():
    readout, features, logits = VisibilityReadout(2, 3), torch.randn(4, 2, 5, 6), torch.randn(4, 3, 5, 6) * 3
    torch.nn.init.normal_(readout.weight)
    torch.nn.init.normal_(readout.bias)
    result = readout(features, logits)
    for b, k in itertools.product(range(4), range(3)):
        heatmap = np.exp(logits[b, k].double().numpy())
        here = (features[b].numpy() * heatmap / heatmap.sum()).sum((1, 2))
        expected = readout.weight[k].detach().numpy() @ here + readout.bias[k].detach().numpy()
        np.testing.assert_allclose(result[b, k].detach(), expected, rtol=1e-4, atol=1e-4)


def test_visibility_teaches_the_features_and_no_heatmap():
    reader, x = head(visibility=True), torch.randn(2, 2, 5, 6, requires_grad=True)
    torch.nn.init.normal_(reader.visibility.weight)
    reader(x)["visibility"].square().sum().backward()
    assert reader.logits.weight.grad is None and reader.logits.bias.grad is None
    assert x.grad.abs().sum() > 0
    assert all(p.grad.abs().sum() > 0 for p in reader.visibility.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_visibility_is_finite_and_in_single_precision_whatever_the_features_are(dtype: torch.dtype):
    readout = VisibilityReadout(2, 3)
    torch.nn.init.constant_(readout.weight, 10.0)
    features, logits = torch.full((1, 2, 4, 4), 6e4, dtype=dtype), torch.zeros(1, 3, 4, 4, dtype=dtype)
    logits[..., 1, 2] = 6e4
    result = readout(features, logits)
    with torch.autocast("cpu", dtype):
        half = readout(features, logits)
    assert result.dtype == half.dtype == torch.float32 and result.isfinite().all() and half.isfinite().all()
    torch.testing.assert_close(half, result, rtol=1e-2, atol=0)
