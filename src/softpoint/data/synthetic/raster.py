"""Filled shapes whose edges fall exactly where their coordinates say, to a fraction of a pixel.

OpenCV fills a polygon together with its outline, which grows it by half a pixel and more on every side
and so moves the centroid of a triangle by up to a pixel. Here a pixel's coverage comes from its signed
distance to the edge, which has no such bias and also answers whether a point is covered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

Colour = Sequence[float]
Point = tuple[float, float]


class Part(Protocol):
    """Something with an inside: all of it lies between the points `low` and `high`."""

    low: Point
    high: Point

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Signed distance in px to the edge, positive inside, for x (w,) and y (h, 1)."""


class Polygon:
    """A convex polygon (N, 2) in px, its corners in either order.

    >>> square = Polygon([(1, 1), (5, 1), (5, 5), (1, 5)])
    >>> square.distance(np.array([0, 1, 3]), np.array([[3]])).tolist()
    [[-1.0, 0.0, 2.0]]
    """

    def __init__(self, corners: np.ndarray | Sequence[Point]) -> None:
        points = np.asarray(corners, dtype=np.float64).tolist()
        xs, ys = zip(*points, strict=True)
        self.low, self.high = (min(xs), min(ys)), (max(xs), max(ys))
        middle_x, middle_y = sum(xs) / len(xs), sum(ys) / len(ys)
        self.lines = []
        for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
            length = math.hypot(x1 - x0, y1 - y0)
            nx, ny = (y0 - y1) / length, (x1 - x0) / length
            offset = -nx * x0 - ny * y0
            inward = math.copysign(1.0, nx * middle_x + ny * middle_y + offset)
            self.lines.append((inward * nx, inward * ny, inward * offset))

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Distance in px to the nearest of the lines through the edges, positive inside."""
        (nx, ny, offset), *others = self.lines
        nearest = x * nx + (y * ny + offset)
        for nx, ny, offset in others:
            np.minimum(nearest, x * nx + (y * ny + offset), out=nearest)
        return nearest


class Capsule:
    """A segment from `start` to `end` thickened by a radius in px that changes evenly along it.

    >>> Capsule((0, 0), (8, 0), 2, 2).distance(np.array([-1.0, 4.0]), np.array([[0.0]])).tolist()
    [[1.0, 2.0]]
    """

    def __init__(self, start: Point, end: Point, radius: float, end_radius: float) -> None:
        (x0, y0), (x1, y1) = start, end
        self.start, self.radius = (float(x0), float(y0)), float(radius)
        self.length = math.hypot(x1 - x0, y1 - y0)
        self.along = ((x1 - x0) / self.length, (y1 - y0) / self.length) if self.length else (1.0, 0.0)
        self.slope = (end_radius - radius) / self.length if self.length else 0.0
        reach = max(radius, end_radius)
        self.low = (min(x0, x1) - reach, min(y0, y1) - reach)
        self.high = (max(x0, x1) + reach, max(y0, y1) + reach)

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Radius less the distance to the segment, in px."""
        (ux, uy), (x0, y0) = self.along, self.start
        along = (x - x0) * ux + (y - y0) * uy
        across = (x - x0) * -uy + (y - y0) * ux
        inside = np.minimum(np.maximum(along, 0), self.length)
        along -= inside
        far = cv2.magnitude(along, across)
        inside *= self.slope
        inside += self.radius
        return np.subtract(inside, far, out=inside)


def covers(part: Part, point: Point) -> bool:
    """Whether the point (x, y) lies inside the part.

    >>> covers(Capsule((4, 4), (4, 4), 2, 2), (4.5, 5.5))
    True
    """
    (x, y), (left, top), (right, bottom) = point, part.low, part.high
    if not (left < x < right and top < y < bottom):
        return False
    return bool(part.distance(np.array([x]), np.array([[y]]))[0, 0] > 0)


def window(parts: Sequence[Part], size: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and columns of an image of this size that the parts may touch."""
    columns, rows = (
        slice(
            max(math.floor(min(part.low[axis] for part in parts)), 0),
            max(math.ceil(max(part.high[axis] for part in parts)) + 1, 0),
        )
        for axis in (0, 1)
    )
    return slice(rows.start, min(rows.stop, size[0])), slice(columns.start, min(columns.stop, size[1]))


def paint(image: np.ndarray, parts: Sequence[Part], colours: Sequence[Colour], rim: float = 0.0) -> None:
    """Paint parts that may touch but not overlap into an image (H, W, 3), all at once so that no seam shows.

    With `rim` in px, colours come in pairs for each part: at its edge, and from `rim` inwards.
    """
    rows, columns = window(parts, image.shape[:2])
    patch = image[rows, columns]
    if not patch.size:
        return
    x = np.arange(columns.start, columns.stop, dtype=np.float32)
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
    weights = []
    for part in parts:
        depth = part.distance(x, y)
        cover = np.minimum(np.maximum(depth + 0.5, 0), 1)
        if rim:
            core = cover * np.minimum(np.maximum(depth * (1 / rim), 0), 1)
            weights += [cover - core, core]
        else:
            weights.append(cover)
    _blend(patch, np.array(weights), np.asarray(colours, np.float32))


def _blend(patch: np.ndarray, weights: np.ndarray, colours: np.ndarray) -> None:
    """Mix colours (P, 3) by weights (P, h, w) over what the patch (h, w, 3) already shows."""
    weights = weights.reshape(len(colours), -1)
    kept = 1 - weights.sum(0)
    # Half a grey level turns the conversion to integers from truncation into rounding.
    mixed = weights.T @ (colours + 0.5)
    mixed += np.maximum(kept, 0)[:, None] * patch.reshape(-1, 3)
    patch[:] = np.minimum(mixed, 255, out=mixed).reshape(patch.shape)
