"""A spatial softmax is a distribution over pixels in every layout, and its moments are what sums say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from softpoint.functional import (
    axis_softmax,
    entropy,
    information_content,
    soft_argmax,
    spatial_covariance,
    spatial_expectation,
    spatial_softmax,
)

EXAMPLE = torch.tensor([[0.0, 0, 0], [0, 0, 0], [0, 1, 2]])
HALVES = (torch.float16, torch.bfloat16)


def softmax_by_loops(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """The softmax of one (H, W) map, cell by cell in float64."""
    top = max(logits.flat)
    result = np.empty(logits.shape)
    for i, j in np.ndindex(*logits.shape):
        result[i, j] = math.exp((logits[i, j] - top) / temperature)
    return result / math.fsum(result.flat)


def moments_by_loops(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (x, y) and covariance of one (H, W) distribution."""
    cells = [(p[i, j], np.array([j, i], dtype=float)) for i, j in np.ndindex(*p.shape)]
    mean = sum(mass * at for mass, at in cells)
    return mean, sum(mass * np.outer(at - mean, at - mean) for mass, at in cells)


def random_heatmaps(*shape: int) -> torch.Tensor:
    heatmap = torch.rand(*shape, dtype=torch.float64)
    return heatmap / heatmap.sum((-2, -1), keepdim=True)


def one_hot(height: int, width: int, row: int, column: int) -> torch.Tensor:
    logits = torch.full((height, width), -1e4)
    logits[row, column] = 1e4
    return logits


def test_temperature_divides_so_that_less_is_sharper():
    # By hand: 7 cells of e^0, one of e^(1/T), one of e^(2/T).
    for temperature in (0.5, 1.0, 2.0):
        expected = math.exp(2 / temperature) / (7 + math.exp(1 / temperature) + math.exp(2 / temperature))
        assert spatial_softmax(EXAMPLE, temperature)[2, 2].item() == pytest.approx(expected, rel=1e-6)
    sharp, plain, soft = (spatial_softmax(EXAMPLE, t)[2, 2] for t in (0.5, 1.0, 2.0))
    assert sharp > plain > soft


@pytest.mark.parametrize(
    ("shape", "dim"),
    [
        ((4, 5), (-2, -1)),
        ((4, 5), (0, 1)),
        ((2, 3, 4, 5), (-2, -1)),
        ((2, 3, 4, 5), (2, 3)),
        ((4, 5, 3), (0, 1)),
        ((2, 4, 5, 3), (1, 2)),
        ((2, 4, 5, 3), (-3, -2)),
        ((4, 2, 3, 5), (0, -1)),
        ((4, 2, 5), (-3, 2)),
        ((5, 4), (1, 0)),
        ((3, 5, 2, 4), (3, 1)),
    ],
)
def test_dim_names_the_rows_and_columns_of_any_layout(shape: tuple[int, ...], dim: tuple[int, int]):
    logits = torch.randn(*shape, dtype=torch.float64)
    maps = np.moveaxis(logits.numpy(), dim, (-2, -1))
    expected = np.empty(maps.shape)
    mean, covariance = np.empty((*maps.shape[:-2], 2)), np.empty((*maps.shape[:-2], 2, 2))
    for index in np.ndindex(*maps.shape[:-2]):
        expected[index] = softmax_by_loops(maps[index], 0.7)
        mean[index], covariance[index] = moments_by_loops(expected[index])
    heatmap = spatial_softmax(logits, 0.7, dim)
    assert heatmap.shape == logits.shape
    np.testing.assert_allclose(np.moveaxis(heatmap.numpy(), dim, (-2, -1)), expected, rtol=1e-12)
    np.testing.assert_allclose(spatial_expectation(heatmap, dim=dim), mean, rtol=1e-12)
    np.testing.assert_allclose(soft_argmax(logits, 0.7, dim=dim), mean, rtol=1e-12)
    np.testing.assert_allclose(spatial_covariance(heatmap, dim), covariance, rtol=1e-10, atol=1e-12)
    bits = -(expected * np.log2(expected)).sum((-2, -1))
    np.testing.assert_allclose(entropy(heatmap, dim), bits, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *HALVES])
@pytest.mark.parametrize("temperature", [0.01, 1.0, 100.0])
def test_extreme_logits_stay_finite_and_keep_their_dtype(dtype: torch.dtype, temperature: float):
    logits = torch.tensor([[1e4, -1e4, 0.0], [1e4, 3.0, -1e4]], dtype=dtype)
    heatmap = spatial_softmax(logits, temperature)
    assert heatmap.dtype == dtype
    torch.testing.assert_close(heatmap.double(), torch.tensor([[0.5, 0, 0], [0.5, 0, 0]], dtype=torch.float64))
    # The maxima are cells (0, 0) and (0, 1): the mean lies between, in single precision at least.
    assert soft_argmax(logits, temperature).tolist() == pytest.approx([0.0, 0.5], abs=1e-6)
    assert entropy(heatmap).item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_is_decoded_in_single(dtype: torch.dtype):
    # 1001 is no half-precision number: at that size bfloat16 counts in steps of 8.
    logits = torch.full((1, 1024), -100.0, dtype=dtype)
    logits[0, 1001] = 100
    assert soft_argmax(logits).tolist() == [1001.0, 0.0]
    assert spatial_expectation(spatial_softmax(logits)).dtype == torch.float32


def test_autocast_does_not_coarsen_positions():
    logits = one_hot(1, 1024, 0, 1001)
    grid = torch.stack(torch.meshgrid(torch.arange(1024.0), torch.arange(1.0), indexing="xy"), -1)
    with torch.autocast("cpu", torch.bfloat16):
        heatmap = spatial_softmax(logits)
        found = soft_argmax(logits), soft_argmax(logits, window=3), spatial_expectation(heatmap, grid)
    assert [x.tolist() for x in found] == [[1001.0, 0.0]] * 3


def test_integer_logits_are_taken_as_floats():
    assert torch.equal(spatial_softmax(EXAMPLE.int()), spatial_softmax(EXAMPLE))


def test_one_temperature_per_keypoint():
    logits = torch.randn(2, 3, 4, 5)
    temperature = torch.tensor([0.5, 1.0, 2.0])
    heatmap = spatial_softmax(logits, temperature.view(3, 1, 1))
    for k, t in enumerate(temperature.tolist()):
        torch.testing.assert_close(heatmap[:, k], spatial_softmax(logits[:, k], t))


@pytest.mark.parametrize("temperature", [0.0, -2.5, float("nan")])
def test_a_temperature_that_is_not_positive_is_quoted(temperature: float):
    for value in (temperature, torch.tensor([1.0, temperature]).view(2, 1, 1)):
        with pytest.raises(ValueError, match=f"temperature must be positive, got {temperature}"):
            spatial_softmax(torch.zeros(2, 3, 3), value)


@pytest.mark.parametrize("function", [spatial_softmax, spatial_expectation, spatial_covariance, soft_argmax, entropy])
def test_a_map_needs_two_axes(function):
    with pytest.raises(ValueError, match=r"row and a column axis, got shape \(5,\)"):
        function(torch.zeros(5))


@pytest.mark.parametrize("window", [None, 1, 3, 9, 99])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 6), (3, 2), (8, 0), (8, 6)])
def test_a_one_hot_map_decodes_to_its_cell(window: int | None, row: int, column: int):
    logits = one_hot(9, 7, row, column)
    assert soft_argmax(logits, window=window).tolist() == [column, row]
    normalized = soft_argmax(logits, window=window, normalized=True)
    torch.testing.assert_close(normalized, torch.tensor([column / 3 - 1, row / 4 - 1]))


def test_axis_softmaxes_are_the_marginals_of_a_separable_map():
    x, y = torch.randn(6, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    heatmap = spatial_softmax(y[:, None] + x)
    torch.testing.assert_close(heatmap.sum(0), axis_softmax(x[None], -1)[0])
    torch.testing.assert_close(heatmap.sum(1), axis_softmax(y[:, None], 0)[:, 0])
    assert axis_softmax(x.half(), 0).dtype == torch.float16


def test_normalized_is_minus_one_to_one_between_the_outer_cell_centers():
    for (row, y), (column, x) in itertools.product([(0, -1.0), (2, 0.0), (4, 1.0)], [(0, -1.0), (3, 1.0)]):
        heatmap = torch.zeros(5, 4)
        heatmap[row, column] = 1
        assert spatial_expectation(heatmap, normalized=True).tolist() == [x, y]
    assert spatial_expectation(torch.ones(1, 1), normalized=True).tolist() == [0.0, 0.0]


def test_coordinates_replace_the_grid():
    heatmap, coordinates = random_heatmaps(2, 3, 4, 5), torch.randn(4, 5, 2, dtype=torch.float64)
    expected = np.zeros((2, 3, 2))
    for b, k, i, j in np.ndindex(2, 3, 4, 5):
        expected[b, k] += heatmap[b, k, i, j].item() * coordinates[i, j].numpy()
    np.testing.assert_allclose(spatial_expectation(heatmap, coordinates), expected, rtol=1e-12)


def test_coordinates_of_another_size_are_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"\(5, 4, 2\) do not fit maps of shape \(4, 5\).*\(4, 5, 2\)"):
        spatial_expectation(torch.zeros(4, 5), torch.zeros(5, 4, 2))


def test_covariance_keeps_its_precision_far_from_the_origin():
    heatmap = torch.zeros(1, 4096)
    heatmap[0, 4000] = heatmap[0, 4001] = 0.5
    assert spatial_covariance(heatmap).tolist() == [[0.25, 0.0], [0.0, 0.0]]


def test_entropy_is_zero_for_one_cell_and_log2_of_the_count_for_all():
    certain = torch.zeros(4, 8)
    certain[1, 2] = 1
    assert entropy(certain).item() == 0.0
    assert entropy(torch.full((4, 8), 1 / 32)).item() == 5.0
    assert entropy(torch.tensor([[0.5, 0.25], [0.25, 0.0]])).item() == 1.5


def test_entropy_has_a_finite_gradient_where_the_map_is_zero():
    p = torch.tensor([[1.0, 0.0], [0.0, 0.0]], requires_grad=True)
    entropy(p).backward()
    assert p.grad.isfinite().all()


def test_information_counts_the_halvings():
    p = torch.tensor([1.0, 0.5, 0.125, 0.0])
    assert information_content(p).tolist() == [0.0, 1.0, 3.0, math.inf]
    heatmap = random_heatmaps(3, 4)
    torch.testing.assert_close((heatmap * information_content(heatmap)).sum(), entropy(heatmap))


DIFFERENTIABLE = {
    "spatial_softmax": spatial_softmax,
    "axis_softmax": lambda z: axis_softmax(z, -2),
    "soft_argmax": lambda z: soft_argmax(z, 0.7, normalized=True),
    "spatial_expectation": spatial_expectation,
    "coordinates": lambda z: spatial_expectation(z, torch.ones(3, 4, 2).cumsum(0)),
    "spatial_covariance": spatial_covariance,
    "normalized covariance": lambda z: spatial_covariance(z, normalized=True),
    "entropy": lambda z: entropy(z.exp()),
    "information_content": lambda z: information_content(z.exp()),
}


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_are_those_of_finite_differences(name: str):
    z = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(DIFFERENTIABLE[name], z)
    assert gradgradcheck(DIFFERENTIABLE[name], z)


def test_a_temperature_tensor_learns():
    z = torch.randn(2, 3, 4, dtype=torch.float64)
    temperature = torch.rand(2, 1, 1, dtype=torch.float64).add(0.5).requires_grad_()
    assert gradcheck(lambda t: soft_argmax(z, t), temperature)
