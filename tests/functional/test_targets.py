"""Targets sum to 1 about the point they are of, anywhere on the map, and discs hold what is near."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from softpoint.functional import (
    bilinear_axis,
    disc_classes,
    nearest_axis,
    render_gaussians,
    render_target,
)
from softpoint.functional import spatial_expectation as mean_of
from softpoint.functional.targets import TARGETS

SIZE = (6, 9)
GRID = torch.cartesian_prod(torch.linspace(-0.5, 8.5, 37), torch.linspace(-0.5, 5.5, 25)).double()


@pytest.mark.parametrize("kind", ["gaussian", "nearest", "bilinear"])
def test_a_target_sums_to_one_wherever_its_point_is(kind: str):
    far = torch.tensor([[-1e6, 3.0], [1e6, -40.0]], dtype=torch.float64)
    maps = render_target(torch.cat((GRID, far)), 0.8, SIZE, TARGETS[kind])
    assert maps.shape == (len(GRID) + 2, *SIZE) and (maps >= 0).all()
    torch.testing.assert_close(maps.sum((-2, -1)), torch.ones(len(maps), dtype=torch.float64))


def test_the_nearest_cell_is_one_and_the_nearest():
    maps = render_target(GRID, 1.0, SIZE, nearest_axis)
    assert (maps.flatten(1).amax(-1) == 1).all()
    cells = mean_of(maps)
    every = torch.cartesian_prod(torch.arange(9.0), torch.arange(6.0)).double()
    torch.testing.assert_close((GRID - cells).norm(dim=-1), torch.cdist(GRID, every).amin(-1))


def test_bilinear_weights_are_at_most_four_whose_mean_is_the_point():
    maps = render_target(GRID, 1.0, SIZE, bilinear_axis)
    torch.testing.assert_close(mean_of(maps), GRID.clamp(torch.zeros(2), torch.tensor([8.0, 5.0])))
    assert ((maps > 0).sum((-2, -1)) <= 4).all()
    result = render_target(torch.tensor([2.25, 3.5]), 1.0, SIZE, bilinear_axis)
    assert {(i, j): result[i, j].item() for i, j in np.ndindex(*SIZE) if result[i, j] > 0} == {
        (3, 2): 0.375, (3, 3): 0.125, (4, 2): 0.375, (4, 3): 0.125
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["gaussian", "nearest", "bilinear"])
def test_a_target_is_the_product_of_those_of_its_axes(kind: str):
    x, y = TARGETS[kind](GRID[:, 0], 1.3, 9), TARGETS[kind](GRID[:, 1], 1.3, 6)
    torch.testing.assert_close(render_target(GRID, 1.3, SIZE, TARGETS[kind]), y[:, :, None] * x[:, None])


def test_the_gaussian_is_render_gaussians():
    assert torch.equal(render_target(GRID, 0.7, SIZE), render_gaussians(GRID, 0.7, SIZE))


@pytest.mark.parametrize("kind", ["nearest", "bilinear"])
def test_a_grid_of_one_cell_has_all(kind: str):
    assert render_target(torch.tensor([0.3, -0.5]), 1.0, (1, 1), TARGETS[kind]).tolist() == [[1.0]]


def test_half_precision_targets_are_single():
    mean = torch.tensor([300.25, 1.5], dtype=torch.bfloat16)
    assert render_target(mean, 1.0, (4, 400), bilinear_axis).dtype == torch.float32


def expected_classes(points: list[tuple[float, float] | None], size: tuple[int, int], radius: float, ring: float):
    """Classes and kept cells, cell by cell."""
    classes, kept = np.zeros((len(points) + 1, *size)), np.ones(size, dtype=bool)
    for i, j in np.ndindex(*size):
        near = False
        for k, point in enumerate(points):
            if point is None:
                continue
            d = math.hypot(j - point[0], i - point[1])
            row, column = (math.floor(min(max(point[1 - n], 0), size[n] - 1) + 0.5) for n in range(2))
            classes[k, i, j] = 1 if (row, column) == (i, j) else min(max(radius + 0.5 - d, 0), 1)
            near = near or d < radius + 0.5 + ring
        claimed = classes[:-1, i, j].sum()
        classes[:-1, i, j] /= max(claimed, 1)
        classes[-1, i, j] = 1 - min(claimed, 1)
        kept[i, j] = claimed > 0 or not near
    return classes, kept


@pytest.mark.parametrize("radius", [1.5, 2.2, 4.0])
def test_the_mean_of_a_disc_is_its_keypoint(radius: float):
    points = torch.cartesian_prod(torch.linspace(8, 9, 6), torch.linspace(8, 9, 6))[:, None]
    classes, _ = disc_classes(points, torch.ones(36, 1, dtype=torch.bool), (18, 18), radius)
    disc = classes[:, 0] / classes[:, 0].sum((-2, -1), keepdim=True)
    assert (mean_of(disc) - points[:, 0]).norm(dim=-1).max() < 0.07


@pytest.mark.parametrize(("radius", "ring"), [(0.2, 0.0), (1.5, 1.0), (2.3, 2.5)])
def test_discs_shared_cells_and_rings_cell_by_cell(radius: float, ring: float):
    drawn = [
        [(2.3, 1.1), (3.1, 1.4), None, (-0.5, 5.5)],
        [None, None, None, None],
        [(8.5, -0.5), (8.4, -0.4), (4.0, 3.0), None],
    ]
    mean = torch.tensor([[point or (math.nan, 1e9) for point in points] for points in drawn], dtype=torch.float64)
    mask = torch.tensor([[point is not None for point in points] for points in drawn])
    classes, kept = disc_classes(mean, mask, SIZE, radius, ring)
    for b, points in enumerate(drawn):
        expected, expected_kept = expected_classes(points, SIZE, radius, ring)
        np.testing.assert_allclose(classes[b], expected)
        assert np.array_equal(kept[b], expected_kept)
    torch.testing.assert_close(classes.sum(1), torch.ones(3, *SIZE, dtype=torch.float64))


@pytest.mark.parametrize(("radius", "ring"), [(0.0, 1.0), (-1.0, 0.0), (1.0, -0.5), (math.nan, 0.0)])
def test_a_disc_without_extent_is_refused(radius: float, ring: float):
    with pytest.raises(ValueError, match="a disc needs a positive radius and a ring of at least 0, got"):
        disc_classes(torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.bool), SIZE, radius, ring)
