"""A window frees the position from what lies elsewhere on the map, and the border does not bias it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from softpoint.functional import soft_argmax, window_expectation, window_mass


def gaussian(x: float, y: float, std: float, height: int = 64, width: int = 64) -> torch.Tensor:
    rows, columns = np.mgrid[:height, :width]
    blob = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * std**2))
    return torch.from_numpy(blob / blob.sum())


def worst(places: itertools.product, std: float, window: int | None) -> float:
    """The largest distance, in cells, between a Gaussian's mean and what is decoded from it."""
    return max(
        (soft_argmax(gaussian(x, y, std).clamp_min(1e-300).log(), window=window) - torch.tensor([x, y])).norm().item()
        for x, y in places
    )


STEPS = [round(0.1 * i, 1) for i in range(10)]


@pytest.mark.parametrize(
    ("std", "window", "bound"),
    [
        (1.0, 5, 0.07),
        (1.0, 7, 0.005),
        (1.0, 9, 2e-4),
        (1.5, 7, 0.1),
        (1.5, 9, 0.02),
        (2.0, 9, 0.11),
        (2.0, 11, 0.04),
    ],
)
def test_a_gaussian_inside_the_map(std: float, window: int, bound: float):
    assert worst(itertools.product([20 + s for s in STEPS], [31 + s for s in STEPS[::3]]), std, window) < bound


@pytest.mark.parametrize(("std", "window", "bound"), [(1.0, 7, 0.21), (1.0, 9, 0.14), (1.5, 9, 0.18), (2.0, 9, 0.22)])
def test_a_gaussian_on_an_edge_or_in_a_corner(std: float, window: int, bound: float):
    # The mean of what the border leaves of a blob on the outermost cell errs by 0.5 std or more.
    near = [-0.5, -0.2, 0.0, 0.4, 1.0, 2.3, 3.5]
    far = [63 - x for x in near]
    assert worst(itertools.product(near, [20.3, 63.5]), std, window) < bound
    assert worst(itertools.product(near, near), std, window) < bound
    assert worst(itertools.product(far, far), std, window) < bound
    assert worst([(0.0, 20.3)], std, None) > 0.5 * std


@pytest.mark.parametrize(("std", "window", "bound"), [(1.5, 7, 0.1), (1.5, 9, 0.02), (2.0, 11, 0.04)])
def test_a_floor_or_a_second_mode_pulls_the_mean_but_not_the_window(std: float, window: int, bound: float):
    truth = torch.tensor([12.3, 20.6])
    peak = gaussian(12.3, 20.6, std)
    floor = 0.95 * peak + 0.05 / peak.numel()
    two = 0.85 * peak + 0.15 * gaussian(50, 44, std)
    for heatmap, pull in ((floor, 1.0), (two, 5.0)):
        logits = heatmap.clamp_min(1e-300).log()
        assert (soft_argmax(logits) - truth).norm() > pull
        assert (soft_argmax(logits, window=window) - truth).norm() < bound


@pytest.mark.parametrize("window", [3, 5])
def test_inside_the_map_it_is_the_plain_mean_of_the_window(window: int):
    maps = torch.rand(2, 3, 15, 17, dtype=torch.float64)
    maps[..., 6, 8] += 1
    r = window // 2
    expected = np.zeros((2, 3, 2))
    for b, k in np.ndindex(2, 3):
        cut = maps[b, k, 6 - r : 7 + r, 8 - r : 9 + r].numpy()
        for i, j in np.ndindex(window, window):
            expected[b, k] += cut[i, j] / cut.sum() * np.array([8 - r + j, 6 - r + i])
        assert window_mass(maps, window)[b, k].item() == pytest.approx(cut.sum())
    np.testing.assert_allclose(window_expectation(maps, window), expected, rtol=1e-12)


def test_mass_counts_what_the_border_leaves_of_the_window():
    maps = torch.ones(4, 6)
    maps[3, 0] = 2
    assert window_mass(maps, 3).item() == 5.0
    assert window_mass(maps, 99).item() == 25.0


def test_a_mirrored_map_has_a_mirrored_position():
    maps = torch.rand(8, 7, 9, dtype=torch.float64)
    x, y = window_expectation(maps, 5).unbind(-1)
    mirrored = window_expectation(maps.flip(-1), 5)
    torch.testing.assert_close(mirrored, torch.stack((8 - x, y), -1))


def test_scale_does_not_matter():
    maps = torch.rand(8, 7, 9, dtype=torch.float64)
    torch.testing.assert_close(window_expectation(maps * 1e-8, 5), window_expectation(maps, 5))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_flat_map_decodes_to_one_of_its_cells(value: float):
    position = window_expectation(torch.full((5, 6), value), 3)
    assert position.isfinite().all()
    assert (position >= 0).all() and (position <= torch.tensor([5.0, 4.0])).all()


@pytest.mark.parametrize("window", [4, 0, -3])
def test_a_window_that_is_not_odd_and_positive_is_refused_with_one_that_is(window: int):
    with pytest.raises(ValueError, match=rf"odd number of cells, got {window}; try {max(window, 0) + 1}"):
        soft_argmax(torch.zeros(9, 9), window=window)


@pytest.mark.parametrize("window", [3, 5, 99])
def test_gradients_are_those_of_finite_differences(window: int):
    maps = torch.rand(4, 6, 7, dtype=torch.float64)
    for k, (row, column) in enumerate([(0, 0), (5, 6), (3, 3), (0, 4)]):
        maps[k, row, column] += 1
    maps.requires_grad_()
    assert gradcheck(lambda m: window_expectation(m, window), maps)
    assert gradcheck(lambda m: window_mass(m, window), maps)
    assert gradcheck(lambda m: soft_argmax(m, 0.5, window), maps)


@pytest.mark.parametrize("maps", [torch.zeros(5, 5), torch.eye(5), torch.full((5, 5), 0.04)])
def test_gradients_are_finite_on_degenerate_maps(maps: torch.Tensor):
    maps = maps.clone().requires_grad_()
    window_expectation(maps, 3).sum().backward()
    assert maps.grad.isfinite().all()
