"""Filled shapes with edges exact to a fraction of a pixel.

OpenCV fills a polygon together with its outline, which extends it by half a pixel and more on every side and moves the
centroid of a triangle by up to a pixel. Here the coverage of a pixel follows from its signed distance to the edge,
which has no such bias and also decides whether a point is covered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

Color = Sequence[float]
Point = tuple[float, float]


class Polygon:
    """A convex polygon (N, 2) in px, its corners in either order, with the bounding box `low` to `high`.

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
        """Return the distance in px to the nearest line through an edge, positive inside; x and y broadcast."""
        (nx, ny, offset), *others = self.lines
        nearest: np.ndarray = x * nx + (y * ny + offset)
        for nx, ny, offset in others:
            np.minimum(nearest, x * nx + (y * ny + offset), out=nearest)
        return nearest

    def coverage(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the share of each pixel that is inside: 1 less the part that each edge cuts off.

        The parts are added because at a sharp corner they are on opposite sides of a pixel; the largest of them alone
        would draw such a corner too long.
        """
        share = np.ones(np.broadcast_shapes(x.shape, y.shape), np.float32)
        for nx, ny, offset in self.lines:
            line = x * nx + (y * ny + (offset - 0.5))
            share += np.minimum(line, 0, out=line)
        return np.maximum(share, 0, out=share)


class Capsule:
    """A segment from `start` to `end` with a radius in px that changes linearly along it, and its bounding box.

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
        """Return the radius less the distance to the segment, in px."""
        (ux, uy), (x0, y0) = self.along, self.start
        if not self.length:
            far = (x - x0) ** 2 + (y - y0) ** 2
            return np.subtract(self.radius, np.sqrt(far, out=far), out=far)
        x, y = x - x0, y - y0
        along, across = x * ux + y * uy, x * -uy + y * ux
        inside = np.minimum(np.maximum(along, 0), self.length)
        along -= inside
        inside *= self.slope
        inside += self.radius
        inside -= np.asarray(cv2.magnitude(along, across))
        return inside

    def coverage(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the share of each pixel that is inside, in [0, 1]."""
        return _to_unit(self.distance(x, y) + 0.5)


Part = Polygon | Capsule


def covers(part: Part, points: np.ndarray) -> np.ndarray:
    """Return which of the points (K, 2) in px are inside the part, bool (K,).

    >>> covers(Capsule((4, 4), (4, 4), 2, 2), np.array([[4.5, 5.5], [6.5, 4.0]])).tolist()
    [True, False]
    """
    inside: np.ndarray = part.distance(points[None, :, 0], points[None, :, 1])[0] > 0
    return inside


def mask(parts: Sequence[Part], size: tuple[int, int]) -> np.ndarray:
    """Return the pixels, bool (H, W), whose center is inside one of the parts."""
    inside = np.zeros(size, bool)
    for part in parts:
        patch, x, y = _patch(inside, [part])
        if patch.size:
            patch |= part.distance(x, y) > 0
    return inside


def paint(image: np.ndarray, parts: Sequence[Part], colors: Sequence[Color]) -> None:
    """Paint parts that may touch but not overlap into an image (H, W, 3), together so that there is no seam."""
    patch, x, y = _patch(image, parts)
    if patch.size:
        _blend(patch, np.array([part.coverage(x, y) for part in parts]), np.asarray(colors, np.float32))


def shade(image: np.ndarray, part: Part, edge: Color, core: Color, rim: float) -> None:
    """Paint a part into an image (H, W, 3) in one color at its edge and another from `rim` px inwards."""
    patch, x, y = _patch(image, [part])
    if not patch.size:
        return
    depth = part.distance(x, y)
    weights = np.empty((2, *depth.shape), np.float32)
    np.add(depth, 0.5, out=weights[0])
    depth *= 1 / rim
    np.multiply(_to_unit(depth), _to_unit(weights[0]), out=weights[1])
    weights[0] -= weights[1]
    _blend(patch, weights, np.array([edge, core], np.float32))


def _patch(image: np.ndarray, parts: Sequence[Part]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pixels that the parts may touch, and their x (w,) and y (h, 1)."""
    left, top = (max(math.floor(min(part.low[axis] for part in parts)), 0) for axis in (0, 1))
    right, bottom = (max(math.ceil(max(part.high[axis] for part in parts)) + 1, 0) for axis in (0, 1))
    x = np.arange(left, min(right, image.shape[1]), dtype=np.float32)
    y = np.arange(top, min(bottom, image.shape[0]), dtype=np.float32)[:, None]
    return image[top:bottom, left:right], x, y


def _to_unit(values: np.ndarray) -> np.ndarray:
    """Clip to [0, 1] in place; np.clip is slower on arrays this small."""
    np.maximum(values, 0, out=values)
    np.minimum(values, 1, out=values)
    return values


def _blend(patch: np.ndarray, weights: np.ndarray, colors: np.ndarray) -> None:
    """Mix colors (P, 3) by weights (P, h, w) with the patch (h, w, 3)."""
    weights = weights.reshape(len(colors), -1)
    kept = 1 - np.einsum("pn->n", weights)
    # Half a gray level turns the conversion to integers from truncation into rounding.
    mixed = weights.T @ (colors + 0.5)
    mixed += _to_unit(kept)[:, None] * patch.reshape(-1, 3)
    patch[:] = np.minimum(mixed, 255, out=mixed).reshape(patch.shape)
