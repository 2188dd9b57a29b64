"""Grids of every stride agree about where a point is, and matrices move points and their covariances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from softpoint.functional import grid_to_image, image_to_grid, transform_covariance, transform_points

PROJECTIVE = torch.tensor([[1.2, 0.3, 5.0], [-0.2, 0.9, 7.0], [1e-3, -2e-3, 1.1]], dtype=torch.float64)


@pytest.mark.parametrize("stride", [1, 2, 4, 7, 8, 32])
def test_a_cell_center_is_the_mean_of_its_pixels(stride: int):
    for cell in range(5):
        pixels = np.arange(cell * stride, (cell + 1) * stride)
        assert grid_to_image(float(cell), stride) == pixels.mean()
        assert image_to_grid(pixels.mean(), stride) == pytest.approx(cell)


def test_strides_compose_and_borders_meet():
    x = torch.linspace(-3, 40, 9, dtype=torch.float64)
    torch.testing.assert_close(grid_to_image(grid_to_image(x, 4), 2), grid_to_image(x, 8))
    torch.testing.assert_close(image_to_grid(grid_to_image(x, 8), 8), x)
    # A map of 5 cells and its image of 40 pixels span the same extent.
    assert (grid_to_image(-0.5, 8), grid_to_image(4.5, 8)) == (-0.5, 39.5)


def by_hand(matrix: np.ndarray, x: float, y: float) -> np.ndarray:
    u, v, w = (row[0] * x + row[1] * y + row[2] for row in matrix)
    return np.array([u / w, v / w])


def test_points_follow_a_projective_matrix_each():
    points = torch.rand(2, 3, 2, dtype=torch.float64) * 100
    matrices = torch.stack((PROJECTIVE, torch.eye(3, dtype=torch.float64)))
    result = transform_points(points, matrices)
    for b, k in np.ndindex(2, 3):
        np.testing.assert_allclose(result[b, k], by_hand(matrices[b].numpy(), *points[b, k].tolist()), rtol=1e-12)


def test_covariance_is_carried_by_the_maps_jacobian():
    x, y, h = 30.0, 12.0, 1e-4
    covariance = np.array([[4.0, 1.0], [1.0, 2.0]])
    columns = [
        (by_hand(PROJECTIVE.numpy(), x + dx, y + dy) - by_hand(PROJECTIVE.numpy(), x - dx, y - dy)) / (2 * h)
        for dx, dy in ((h, 0), (0, h))
    ]
    jacobian = np.stack(columns, -1)
    result = transform_covariance(
        torch.from_numpy(covariance)[None, None], torch.tensor([[[x, y]]], dtype=torch.float64), PROJECTIVE[None]
    )
    np.testing.assert_allclose(result[0, 0], jacobian @ covariance @ jacobian.T, rtol=1e-7)


def test_autocast_does_not_coarsen_positions():
    # bfloat16 counts in steps of 8 at 1001.
    points, covariance = torch.tensor([[[1001.0, 333.0]]]), torch.full((1, 1, 2, 2), 1.003)
    same = torch.eye(3)[None]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(transform_points(points, same), points)
        assert torch.equal(transform_covariance(covariance, points, same), covariance)


def test_gradients_are_those_of_finite_differences():
    points = torch.rand(1, 2, 2, dtype=torch.float64).mul(10).requires_grad_()
    matrix = PROJECTIVE[None].clone().requires_grad_()
    covariance = torch.rand(1, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(transform_points, (points, matrix))
    assert gradcheck(transform_covariance, (covariance, points, matrix))
