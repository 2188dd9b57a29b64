"""Coordinates by fully connected layers: units, the start, and the density that the scale stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from softpoint.functional import grid_to_image, spatial_softmax
from softpoint.models import RegressionHead
from softpoint.models.heads.regression import laplace_logits


def head(**settings) -> RegressionHead:
    return RegressionHead(in_channels=2, num_keypoints=3, stride=4, **settings)


@pytest.mark.parametrize("size", [(8, 8), (12, 20), (5, 7)])
def test_it_starts_at_the_middle_and_unsure(size: tuple[int, int]):
    result = head()(torch.randn(2, 2, *size))
    height, width = (4 * side for side in size)
    middle = torch.tensor([(width - 1) / 2, (height - 1) / 2]).expand(2, 3, 2)
    torch.testing.assert_close(result["keypoints"], middle)
    torch.testing.assert_close(result["log_scale"].exp(), torch.full((2, 3), max(size) / 4))


def test_positions_are_halves_of_the_sides_from_the_middle():
    reader = head()
    reader.last.bias.data = torch.tensor([-1.0, 1, 0, 1, -1, 0, 0.5, 0, 0])
    result = reader(torch.zeros(1, 2, 10, 20))
    # The sides themselves lie half a pixel beyond the first and the last.
    expected = torch.tensor([[[-0.5, 39.5], [79.5, -0.5], [59.5, 19.5]]])
    torch.testing.assert_close(result["keypoints"], expected)
    torch.testing.assert_close(grid_to_image(result["mean"], 4), expected)


def test_covariance_and_confidence_are_those_of_the_density():
    mean, scale = torch.tensor([[[60.3, 49.8]]], dtype=torch.float64), 2.5
    fine = 0.05
    grid = torch.full((1, 1), np.log(scale / fine), dtype=torch.float64)
    logits = laplace_logits((mean + 0.5) / fine - 0.5, grid, (2000, 2400))
    p = logits.exp()[0, 0]
    assert p.sum().item() == pytest.approx(1, abs=1e-3)  # a density per square cell, and cells are small
    x, y = (np.arange(2400) + 0.5) * fine - 0.5, (np.arange(2000) + 0.5) * fine - 0.5
    near = (np.abs(y - 49.8) <= 4.5)[:, None] & (np.abs(x - 60.3) <= 4.5)
    variance = (p.sum(0) * (torch.from_numpy(x) - 60.3) ** 2).sum().item()
    reader = head(window=9)
    raw = 6 * np.arctanh((np.log(scale) - np.log(24 / 4)) / 6)
    reader.last.bias.data[2::3] = float(raw)
    result = reader(torch.zeros(1, 2, 16, 24))
    assert result["confidence"][0, 0].item() == pytest.approx(p[near].sum().item(), abs=2e-3)
    torch.testing.assert_close(result["covariance"][0, 0], torch.eye(2) * (variance * 16), rtol=1e-2, atol=0)


def test_logits_peak_at_the_nearest_cell_however_far_the_scale_goes():
    for log_scale in (-4.0, 0.0, 4.0):
        logits = laplace_logits(torch.tensor([[[5.3, 2.8]]]), torch.full((1, 1), log_scale), (7, 9))
        assert divmod(spatial_softmax(logits).argmax().item(), 9) == (3, 5)
        assert logits.isfinite().all()


def test_the_scale_stays_within_bounds():
    reader = head()
    for raw in (-1e6, 1e6):
        reader.last.bias.data[2::3] = raw
        result = reader(torch.zeros(1, 2, 8, 8))
        torch.testing.assert_close(result["log_scale"], torch.full((1, 3), np.log(2) + np.copysign(6, raw)))
        assert all(value.isfinite().all() for value in result.values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_only_the_hidden_layer_runs_in_half_precision(dtype: torch.dtype):
    reader, seen = head(), []
    torch.nn.init.normal_(reader.last.weight)
    reader.hidden.register_forward_hook(lambda *call: seen.append(call[2]))
    with torch.no_grad(), torch.autocast("cpu", dtype):
        result = reader(torch.randn(2, 2, 200, 300))
    assert seen[0].dtype == dtype and {value.dtype for value in result.values()} == {torch.float32}
    raw = seen[0].double().relu().numpy() @ reader.last.weight.detach().double().numpy().T
    raw = (raw + reader.last.bias.detach().numpy()).reshape(2, 3, 3)[..., :2]
    expected = raw * np.array([1200, 800]) / 2 + np.array([1199, 799]) / 2
    np.testing.assert_allclose(result["keypoints"], expected, atol=2e-3)


@pytest.mark.parametrize("settings", [{"grid": 0}, {"hidden": 0}])
def test_layers_need_a_size(settings: dict):
    with pytest.raises(ValueError, match="must be at least 1, got"):
        head(**settings)
