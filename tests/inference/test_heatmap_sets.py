"""Polygons of heatmap sets enclose exactly their cells, in the pixels of the image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from softpoint.functional import grid_to_image
from softpoint.inference.heatmap_sets import count_parts, set_parts

STRIDE = 4
# An image twice as large as the input, and moved.
MATRIX = np.array([[2.0, 0.0, 10.0], [0.0, 2.0, -3.0], [0.0, 0.0, 1.0]])


def inside(polygons: list[np.ndarray], points: np.ndarray) -> np.ndarray:
    """The even-odd rule: whether each point (n, 2) is within an odd number of polygons."""
    crossings = np.zeros(len(points), int)
    for polygon in polygons:
        for (x, y), (u, v) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            if y != v:
                spans = (points[:, 1] >= min(y, v)) & (points[:, 1] < max(y, v))
                crossings += spans & (points[:, 0] < x + (points[:, 1] - y) / (v - y) * (u - x))
    return crossings % 2 == 1


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_polygons_enclose_the_cells_and_nothing_else(share: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        cells = rng.random((7, 9)) < share
        parts = set_parts(cells, MATRIX, STRIDE)
        y, x = np.mgrid[:7, :9]
        centers = grid_to_image(np.column_stack((x.ravel(), y.ravel())).astype(float), STRIDE) * 2 + MATRIX[:2, 2]
        polygons = [polygon for part in parts for polygon in (part.outline, *part.holes)]
        assert np.array_equal(inside(polygons, centers).reshape(7, 9), cells)
        assert sum(part.area for part in parts) == pytest.approx(cells.sum() * (2 * STRIDE) ** 2)
        assert len(parts) == count_parts(cells[None])[0] == cv2.connectedComponents(cells.astype(np.uint8))[0] - 1
        assert [part.area for part in parts] == sorted((part.area for part in parts), reverse=True)


def test_a_ring_has_a_hole_and_an_island_is_a_part_of_its_own() -> None:
    cells = np.ones((7, 7), bool)
    cells[1:6, 1:6] = False
    cells[3, 3] = True
    ring, island = set_parts(cells, np.eye(3), STRIDE)
    assert len(ring.holes) == 1 and ring.area == 24 * STRIDE**2 and island.area == STRIDE**2 and not island.holes
    assert ring.outline.min() == -0.5 and ring.outline.max() == 27.5
    assert ring.holes[0].min() == 3.5 and ring.holes[0].max() == 23.5


def test_an_empty_set_has_no_part() -> None:
    assert set_parts(np.zeros((3, 4), bool), np.eye(3), STRIDE) == []
    assert count_parts(np.zeros((2, 3, 4), bool)).tolist() == [0, 0]
