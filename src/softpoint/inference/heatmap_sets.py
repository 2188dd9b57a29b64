"""The connected parts of heatmap sets, as polygons in the pixels of an image."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from softpoint.functional import grid_to_image


class SetPart(NamedTuple):
    """Connected cells of a heatmap set; cells that meet at a corner are connected."""

    area: float  # px^2 of the original image
    outline: np.ndarray  # (n, 2) corners (x, y) in its pixels
    holes: list[np.ndarray]  # outlines of what is left out within


def set_parts(cells: np.ndarray, matrix: np.ndarray, stride: int) -> list[SetPart]:
    """Return the parts of a set of cells (h, w) bool, the largest first.

    `matrix` (3, 3) is the affine one from pixels of the network's input to those of the image.

    >>> first, other = set_parts(np.array([[True, True, False, True]]), np.eye(3), 4)
    >>> first.area, other.area, other.outline.tolist()
    (32.0, 16.0, [[11.5, -0.5], [11.5, 3.5], [15.5, 3.5], [15.5, -0.5]])
    """
    # OpenCV's contours join the centers of pixels: of two in each cell, the first is at the cell's edge before, and the
    # second at the one after.
    doubled = cells.astype(np.uint8).repeat(2, 0).repeat(2, 1)
    contours, tree = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outlines = [_corners(contour[:, 0], matrix, stride) for contour in contours]
    parts = []
    for i, outline in enumerate(outlines):
        if tree[0, i, 3] < 0:
            holes = [hole for j, hole in enumerate(outlines) if tree[0, j, 3] == i]
            parts.append(SetPart(_area(outline) - sum(map(_area, holes)), outline, holes))
    return sorted(parts, key=lambda part: (-part.area, part.outline.tolist()))


def count_parts(cells: np.ndarray) -> np.ndarray:
    """Return the number of parts of each set of cells (..., h, w) bool.

    >>> count_parts(np.array([[[True, False, True]], [[True, True, False]]])).tolist()
    [2, 1]
    """
    maps = cells.astype(np.uint8).reshape(-1, *cells.shape[-2:])
    return np.array([cv2.connectedComponents(one)[0] - 1 for one in maps]).reshape(cells.shape[:-2])


def _corners(contour: np.ndarray, matrix: np.ndarray, stride: int) -> np.ndarray:
    """Corners (n, 2) in the image of the cells along a contour (m, 2) of pixels, two of which are a cell."""
    corners = (contour + 1) // 2 - 0.5
    corners = corners[(corners != np.roll(corners, 1, axis=0)).any(1)]  # at an inner corner two pixels meet
    mapped = np.column_stack((grid_to_image(corners, stride), np.ones(len(corners)))) @ matrix.T
    return np.asarray(mapped[:, :2] / mapped[:, 2:])


def _area(outline: np.ndarray) -> float:
    """Area within a polygon (n, 2)."""
    (x, y), (u, v) = outline.T, np.roll(outline, -1, axis=0).T
    return float(abs((x * v - u * y).sum()) / 2)
