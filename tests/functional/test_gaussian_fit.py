"""A window frees the position from what lies elsewhere on the map, and no cut biases it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from softpoint.functional import render_gaussians, soft_argmax, window_expectation, window_mass


def gaussians(places: np.ndarray, std: float | tuple[float, float], size: tuple[int, int]) -> torch.Tensor:
    """One float64 map (H, W) per place (x, y), which sums to 1 on the grid."""
    return render_gaussians(torch.from_numpy(places), torch.tensor(np.broadcast_to(std, 2).copy()), size)


def everywhere(size: tuple[int, int], count: int = 300) -> np.ndarray:
    """Places all over a map, its corners and edges, and many within 3 cells of the border among them."""
    rng, span = np.random.default_rng(1), np.array(size[::-1])
    inside = rng.random((count, 2)) * span - 0.5
    near = rng.random((count, 2)) * 3.5 - 0.5
    ends = np.where(rng.random((count, 2)) < 0.5, near, span - 1 - near)
    edges = np.where(rng.random((count, 2)) < 0.5, ends, inside)
    special = list(itertools.product(*([-0.5, 0, n / 2, n - 1, n - 0.5] for n in span)))
    return np.concatenate((inside, ends, edges, special))


def errors(maps: torch.Tensor, places: np.ndarray, window: int | None = 9) -> np.ndarray:
    """Distances (N,), in cells, from what soft_argmax reads from the maps' logarithms in single precision."""
    logits = maps.clamp_min(1e-300).log().float()
    return np.linalg.norm(soft_argmax(logits, window=window).double().numpy() - places, axis=1)


def test_a_large_map_is_no_harder():
    places = np.array([[-0.5, 255.5], [0.2, 131.4], [254.9, 0.1], [77.77, 200.5]])
    for std in (0.5, 1.25, 4.0):
        assert errors(gaussians(places, std, (256, 256)), places).max() < 0.002


@pytest.mark.parametrize("std", [(0.7, 2.5), (3.0, 1.0)])
def test_the_two_axes_may_be_spread_differently(std: tuple[float, float]):
    places = everywhere((20, 24))
    assert errors(gaussians(places, std, (20, 24)), places).max() < 0.002


@pytest.mark.parametrize(("window", "std"), [(5, 1.0), (5, 2.5), (7, 3.0), (11, 5.0), (99, 2.0)])
def test_any_window_sees_enough(window: int, std: float):
    places = everywhere((20, 24))
    assert errors(gaussians(places, std, (20, 24)), places, window).max() < 0.02


@pytest.mark.parametrize("std", [0.75, 1.5, 2.0])
def test_three_cells_are_enough_where_all_three_are_on_the_map(std: float):
    places = 1 + everywhere((20, 24))[:300] * 0.9
    assert errors(gaussians(places, std, (20, 24)), places, 3).max() < 0.02


@pytest.mark.parametrize("std", [1.25, 2.0])
def test_a_floor_or_a_second_mode_pulls_the_mean_but_not_the_window(std: float):
    places = np.array([[12.3, 20.6]])
    peak = gaussians(places, std, (64, 64))
    floor, two = 0.95 * peak + 0.05 / 64**2, 0.85 * peak + 0.15 * gaussians(np.array([[50, 44]]), std, (64, 64))
    for heatmap, pull in ((floor, 1.0), (two, 5.0)):
        assert errors(heatmap, places, None) > pull
        assert errors(heatmap, places) < 0.002


def centroid(heatmap: np.ndarray, radius: int = 4) -> np.ndarray:
    """Mean (x, y) of the cells within a window about the maximum, which a border biases."""
    row, column = np.unravel_index(heatmap.argmax(), heatmap.shape)
    top, left = max(row - radius, 0), max(column - radius, 0)
    part = heatmap[top : row + radius + 1, left : column + radius + 1]
    rows, columns = np.mgrid[top : top + part.shape[0], left : left + part.shape[1]]
    return np.array([(columns * part).sum(), (rows * part).sum()]) / part.sum()


@pytest.mark.parametrize(("noise", "std"), [(0.2, 1.25), (0.5, 1.25), (0.5, 0.75)])
def test_noise_moves_it_no_further_than_the_mean_of_the_window(noise: float, std: float):
    rng, size = np.random.default_rng(0), (32, 32)
    inside, border = 8 + 16 * rng.random((600, 2)), rng.random((600, 2)) * 2 - 0.5
    for places, factor in ((inside, 1.05), (border, 0.9)):
        logits = gaussians(places, std, size).clamp_min(1e-12).log()
        heatmap = (logits + noise * torch.from_numpy(rng.normal(size=logits.shape))).exp()
        means = np.array([centroid(h) for h in heatmap.numpy()])
        result = np.linalg.norm(window_expectation(heatmap, 9).numpy() - places, axis=1)
        assert result.mean() < factor * np.linalg.norm(means - places, axis=1).mean()


def test_it_never_leaves_the_window_or_the_map():
    maps = torch.randn(500, 20, 16).mul(3).exp()
    cell = maps.flatten(1).argmax(1)
    peak = torch.stack((cell % 16, cell // 16), -1)
    result = window_expectation(maps, 5)
    assert ((result - peak).abs() <= 2.5).all()
    assert (result >= -0.5).all() and (result <= torch.tensor([15.5, 19.5])).all()


@pytest.mark.parametrize("window", [3, 5])
def test_mass_counts_the_cells_of_the_window(window: int):
    maps = torch.rand(2, 3, 15, 17, dtype=torch.float64)
    maps[..., 6, 8] += 1
    r = window // 2
    torch.testing.assert_close(window_mass(maps, window), maps[..., 6 - r : 7 + r, 8 - r : 9 + r].sum((-2, -1)))


def test_mass_counts_what_the_border_leaves_of_the_window():
    maps = torch.ones(4, 6)
    maps[3, 0] = 2
    assert window_mass(maps, 3).item() == 5.0
    assert window_mass(maps, 99).item() == 25.0


def test_a_position_is_mirrored_and_transposed_with_its_map_and_not_moved_by_its_scale():
    maps = torch.rand(8, 7, 9, dtype=torch.float64)
    x, y = window_expectation(maps, 5).unbind(-1)
    torch.testing.assert_close(window_expectation(maps.flip(-1), 5), torch.stack((8 - x, y), -1))
    torch.testing.assert_close(window_expectation(maps.mT, 5), torch.stack((y, x), -1))
    torch.testing.assert_close(window_expectation(maps * 1e-8, 5), torch.stack((x, y), -1))


def test_one_row_or_one_column_is_a_map():
    places = np.array([[3.3, 0.0], [-0.5, 0.0], [10.5, 0.0]])
    row = gaussians(places, 1.5, (1, 11))
    assert errors(row, places).max() < 0.001
    assert errors(row.mT, places[:, ::-1]).max() < 0.001
    assert window_expectation(torch.ones(1, 1), 9).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_flat_map_decodes_to_one_of_its_cells(value: float):
    position = window_expectation(torch.full((5, 6), value), 3)
    assert position.isfinite().all()
    assert (position >= 0).all() and (position <= torch.tensor([5.0, 4.0])).all()


@pytest.mark.parametrize("window", [3, 5, 99])
def test_gradients_are_those_of_finite_differences(window: int):
    maps = torch.rand(4, 6, 7, dtype=torch.float64)
    for k, (row, column) in enumerate([(0, 0), (5, 6), (3, 3), (0, 4)]):
        maps[k, row, column] += 1
    maps.requires_grad_()
    for read in (window_expectation, window_mass, lambda m, w: soft_argmax(m, 0.5, w)):
        assert gradcheck(lambda m, read=read: read(m, window), maps, fast_mode=True)


@pytest.mark.parametrize("maps", [torch.zeros(5, 5), torch.eye(5), torch.full((5, 5), 0.04), torch.ones(1, 1)])
def test_gradients_are_finite_on_degenerate_maps(maps: torch.Tensor):
    maps = maps.clone().requires_grad_()
    window_expectation(maps, 3).sum().backward()
    assert maps.grad.isfinite().all()


@pytest.mark.parametrize("contrast", [0.01, 1.0, 30.0, 1e4])
def test_gradients_are_finite_whatever_the_contrast(contrast: float):
    logits = (torch.randn(500, 16, 16) * contrast).requires_grad_()
    soft_argmax(logits, window=9).sum().backward()
    assert logits.grad.isfinite().all()
