"""The head reads keypoints, confidence and covariance in input pixels."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import torch

from softpoint.functional import render_gaussians, spatial_softmax
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


def multi_scale(*scales: int, **settings) -> SoftArgmaxHead:
    made = head(scales=scales, **settings)
    for weight in made.coarse:
        torch.nn.init.normal_(weight)
    return made


def block_means(values: np.ndarray, axis: int, factor: int) -> np.ndarray:
    starts = np.arange(0, values.shape[axis], factor)
    counts = np.diff([*starts, values.shape[axis]])
    return np.add.reduceat(values, starts, axis) / np.expand_dims(counts, [i for i in range(4) if i != axis % 4])


def enlarged(values: np.ndarray, axis: int, factor: int, size: int) -> np.ndarray:
    """Values on straight lines between the centers of coarse cells."""
    centers = (np.arange(values.shape[axis]) + 0.5) * factor - 0.5
    return np.apply_along_axis(lambda line: np.interp(np.arange(size), centers, line), axis, values)


def from_above(x: np.ndarray, factors: list[int], weights: list[np.ndarray]) -> np.ndarray:
    if not factors:
        return np.zeros(())
    pooled = block_means(block_means(x, -2, factors[0]), -1, factors[0])
    logits = np.einsum("kc,bchw->bkhw", weights[0], pooled) + from_above(pooled, factors[1:], weights[1:])
    return enlarged(enlarged(logits, -2, factors[0], x.shape[-2]), -1, factors[0], x.shape[-1])


@pytest.mark.parametrize("size", [(8, 12), (5, 7), (1, 3)])
@pytest.mark.parametrize(("scales", "factors"), [((1, 2, 4), [2, 2]), ((1, 3), [3]), ((1, 2, 6), [2, 3])])
def test_coarse_scales_add_enlarged_logits_of_mean_features(scales, factors: list[int], size: tuple[int, int]):
    made, x = multi_scale(*scales), torch.randn(2, 2, *size)
    # Means of means are those of whole squares, except at the border of a map that they do not divide.
    added = from_above(x.double().numpy(), factors, [w.detach().double().numpy()[..., 0, 0] for w in made.coarse])
    expected = made.logits(x).detach().double().numpy() + added
    np.testing.assert_allclose(made(x)["logits"].detach(), expected, atol=1e-4)
    assert np.abs(added).max() > 0.1


def test_coarse_scales_start_as_none_and_learn_from_the_first_step():
    x = torch.randn(2, 2, 5, 6)
    torch.manual_seed(1)
    plain, after_plain = head(learnable_temperature=True), torch.rand(3)
    torch.manual_seed(1)
    made, after_made = head(learnable_temperature=True, scales=[1, 2, 4]), torch.rand(3)
    torch.testing.assert_close(made(x), plain(x), rtol=0, atol=0)
    assert torch.equal(after_plain, after_made)
    made(x)["logits"].square().sum().backward()
    assert len(made.coarse) == 2 and all(weight.grad.abs().sum() > 0 for weight in made.coarse)


def test_the_heatmap_of_several_scales_is_the_product_of_one_softmax_each():
    made, x = multi_scale(1, 2, 4), torch.randn(1, 2, 8, 8)
    experts = []
    for kept in ("logits", "coarse.0", "coarse.1"):
        one = multi_scale(1, 2, 4)
        state = {name: value if name.startswith(kept) else 0 * value for name, value in made.state_dict().items()}
        one.load_state_dict(state)
        experts.append(spatial_softmax(one(x)["logits"]))
    product = torch.stack(experts).prod(0)
    product = product / product.sum((-2, -1), keepdim=True)
    torch.testing.assert_close(spatial_softmax(made(x)["logits"]), product, rtol=1e-4, atol=1e-7)


def test_several_scales_follow_a_shift_by_the_coarsest_cell_and_by_no_less():
    made, x = multi_scale(1, 2, 4), torch.zeros(1, 2, 24, 32)
    x[..., 8:12, 8:16] = torch.randn(4, 8)  # no coarse cell that it touches is at the border, shifted or not
    logits = made(x)["logits"]
    moved = made(x.roll((4, 8), (-2, -1)))["logits"]
    torch.testing.assert_close(moved, logits.roll((4, 8), (-2, -1)))
    assert not torch.allclose(made(x.roll(1, -1))["logits"], logits.roll(1, -1), atol=1e-2)


def test_gradients_of_several_scales_are_those_of_finite_differences():
    made = multi_scale(1, 2, 4, decode="expectation").double()
    x = torch.randn(1, 2, 5, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: made(values)["logits"], x)
    names, weights = zip(*made.named_parameters(), strict=True)
    assert torch.autograd.gradcheck(
        lambda *values: torch.func.functional_call(made, dict(zip(names, values, strict=True)), (x,))["logits"], weights
    )


@pytest.mark.parametrize("scales", [[], [2, 4], [1, 2, 3], [1, 4, 2], [1, 1], [1, 0], [1, -2]])
def test_scales_that_do_not_nest_are_quoted(scales: list):
    with pytest.raises(
        ValueError,
        match=re.escape(f"head.scales must begin with 1, each a multiple of the one before, as [1,2,4], got {scales}"),
    ):
        head(scales=scales)
