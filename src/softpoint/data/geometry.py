"""Geometry: 3x3 matrices on (x, y), where integers are pixel centers, and one warp."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from softpoint.functional.coordinates import grid_to_image


def resize_matrix(scale_x: float, scale_y: float) -> np.ndarray:
    """Return the matrix of a resize: every pixel becomes `scale` pixels wide, and image edges stay image edges.

    >>> resize_matrix(2, 2)[0].tolist()
    [2.0, 0.0, 0.5]
    """
    return np.array(
        [
            [scale_x, 0.0, grid_to_image(0.0, scale_x)],
            [0.0, scale_y, grid_to_image(0.0, scale_y)],
            [0.0, 0.0, 1.0],
        ]
    )


def translate(x: float, y: float) -> np.ndarray:
    """Return the matrix that moves points by (x, y) pixels."""
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def about(matrix: np.ndarray, center: tuple[float, float]) -> np.ndarray:
    """Return the linear map `matrix` with `center` (x, y) as its fixed point."""
    return np.asarray(translate(*center) @ matrix @ translate(-center[0], -center[1]))


def rotate(degrees: float, center: tuple[float, float]) -> np.ndarray:
    """Return the matrix of a rotation about `center` from the x axis towards the y axis: clockwise on a screen.

    >>> transform(np.array([2.0, 0.0]), rotate(90, (0.0, 0.0))).round(9).tolist()
    [0.0, 2.0]
    """
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return about(np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]]), center)


def zoom(scale: float, center: tuple[float, float]) -> np.ndarray:
    """Return the matrix of a magnification about `center`."""
    return about(np.diag([scale, scale, 1.0]), center)


def shear(x_degrees: float, y_degrees: float, center: tuple[float, float]) -> np.ndarray:
    """Return the matrix that leans columns by `x_degrees` and rows by `y_degrees` about `center`."""
    x, y = math.tan(math.radians(x_degrees)), math.tan(math.radians(y_degrees))
    return about(np.array([[1.0, x, 0.0], [y, 1.0, 0.0], [0.0, 0.0, 1.0]]), center)


def mirror(width: int) -> np.ndarray:
    """Return the matrix of a left-right mirror of an image `width` pixels wide.

    >>> transform(np.array([0.0, 7.0]), mirror(10)).tolist()
    [9.0, 7.0]
    """
    return np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def perspective(size: tuple[int, int], displacement: np.ndarray) -> np.ndarray:
    """Return the matrix that moves the centers of the four corner pixels by `displacement` (4, 2) in pixels.

    `size` is (height, width); corners in the order top left, top right, bottom right, bottom left.

    >>> bent = perspective((11, 21), np.array([[1.0, 2.0], [0, 0], [0, 0], [0, 0]]))
    >>> transform(np.array([[0.0, 0.0], [20.0, 0.0]]), bent).round(9).tolist()
    [[1.0, 2.0], [20.0, 0.0]]
    """
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]) * [size[1] - 1.0, size[0] - 1.0]
    moved = corners + displacement
    rows = []
    for (x, y), (u, v) in zip(corners, moved, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    return np.append(np.linalg.solve(np.array(rows, dtype=float), moved.ravel()), 1.0).reshape(3, 3)


def letterbox_matrix(size: tuple[int, int], into: tuple[int, int]) -> np.ndarray:
    """Return the matrix from an image of `size` (H, W) to an input `into` (H, W): aspect kept, centered.

    The margin is a whole number of pixels, so that an image that already fits is copied, not resampled.

    >>> letterbox_matrix((480, 640), (256, 256)).round(4).tolist()
    [[0.4, 0.0, -0.3], [0.0, 0.4, 31.7], [0.0, 0.0, 1.0]]
    """
    scale = min(into[0] / size[0], into[1] / size[1])
    margin_y, margin_x = (round((new - old * scale) / 2) for new, old in zip(into, size, strict=True))
    return np.asarray(translate(margin_x, margin_y) @ resize_matrix(scale, scale))


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return points (..., 2) mapped by one affine or projective matrix; NaN stays NaN.

    >>> transform(np.array([[1.0, 2.0]]), translate(10, 20)).tolist()
    [[11.0, 22.0]]
    """
    mapped = points @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(mapped[..., :2] / mapped[..., 2:])


def warp(
    image: np.ndarray, matrix: np.ndarray, size: tuple[int, int], border: int = 0, rounded: bool = True
) -> np.ndarray:
    """Return the image (H, W, C) mapped by `matrix` to `size` (H, W), with `border` outside of it.

    Its type is that of the image, or float32 where it is not `rounded`.

    Bilinear, which is exact in place (cubic and Lanczos tables are rounded to 1/32 pixel); a shrink of
    2 or more first averages whole blocks of pixels, so that no pixel is skipped. Always a new array.

    >>> warp(np.arange(4, dtype=np.uint8).reshape(1, 4, 1), mirror(4), (1, 4)).ravel().tolist()
    [3, 2, 1, 0]
    """
    if image.shape[:2] == size and np.array_equal(matrix, np.eye(3)):
        return image.copy() if rounded else image.astype(np.float32)
    channels = image.shape[2:]
    blocks = _blocks(matrix, size)
    image, moved = _visible_part(image, matrix, size, blocks)
    reduced = resize_matrix(1 / blocks[0], 1 / blocks[1])
    rest = matrix @ moved @ np.linalg.inv(reduced)
    fine = rounded and image.dtype == np.uint8 and blocks != (1, 1) and _hardly_scales(rest, size)
    if fine:
        image, border = np.left_shift(image, 8, dtype=np.uint16), border << 8
    affine = np.array_equal(rest[2], [0.0, 0.0, 1.0])
    function, coefficients = (cv2.warpAffine, rest[:2]) if affine else (cv2.warpPerspective, rest)
    image = _average_blocks(image, blocks, border, rounded)
    settings: dict[str, Any] = {"flags": cv2.INTER_LINEAR, "borderValue": (border,) * 4}
    parts = [function(group, coefficients, size[::-1], **settings) for group in _groups(image)]
    warped = parts[0] if len(parts) == 1 else np.dstack(parts)
    if fine:
        warped = cv2.convertScaleAbs(warped, alpha=1 / 256)
    return warped.reshape(*size, *channels)  # OpenCV drops a single channel


def _groups(image: np.ndarray) -> list[np.ndarray]:
    """Return the image (H, W, C) in groups of 4, 3 or 1 channels.

    Of other numbers, OpenCV rounds the places of samples to 1/32 pixel.

    >>> [group.shape[2] for group in _groups(np.zeros((1, 1, 6)))]
    [4, 1, 1]
    """
    if image.ndim == 2 or image.shape[2] in (1, 3, 4):
        return [image]
    count, rest = divmod(image.shape[2], 4)
    sizes = [4] * count + ([1, 1] if rest == 2 else [rest] if rest else [])
    return [np.ascontiguousarray(group) for group in np.split(image, np.cumsum(sizes)[:-1], axis=2)]


def _visible_part(
    image: np.ndarray, matrix: np.ndarray, size: tuple[int, int], blocks: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the whole blocks of the image that are visible in the output, and the matrix from them to the image.

    Without this, a small crop of a large image would have all of it averaged.
    """
    back = np.linalg.inv(matrix)
    corners = np.array([[-1, -1], [size[1], -1], [-1, size[0]], [size[1], size[0]]])
    depth = corners @ back[2, :2] + back[2, 2]
    if depth.min() <= 0 < depth.max():  # the horizon is in sight
        return image, np.eye(3)
    visible = transform(corners, back) / blocks
    total = -(-np.array(image.shape[1::-1]) // blocks)
    # Two blocks more than is visible, for the neighbors of interpolation and for rounding.
    low = np.clip(np.floor(visible.min(axis=0)) - 2, 0, total - 1).astype(int) * blocks
    high = np.clip(np.ceil(visible.max(axis=0)) + 3, 1, total).astype(int) * blocks
    high = np.maximum(high, low + blocks)
    return image[low[1] : high[1], low[0] : high[0]], translate(*low)


def _hardly_scales(matrix: np.ndarray, size: tuple[int, int]) -> bool:
    """Return whether samples fall on nearly the same place between two pixels all over the output.

    There, and only there, rounding to whole gray levels on the way shifts the image in one direction.
    """
    drift = np.abs(np.abs(matrix[:2, :2]) - np.eye(2)).max() * max(size)
    return drift < 2 and not np.array_equal(matrix, matrix.round())


def _blocks(matrix: np.ndarray, size: tuple[int, int]) -> tuple[int, int]:
    """Return the number of whole source pixels, along x and y, that one output pixel covers at the output's center."""
    center = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])
    x, y = transform(center, np.linalg.inv(matrix))
    depth = matrix[2] @ (x, y, 1.0)
    jacobian = (matrix[:2, :2] - np.outer(center, matrix[2, :2])) / depth
    across_x, across_y = 1 / np.linalg.norm(jacobian, axis=0)
    # Rounding noise must not make a shrink by exactly 2 or 3 miss its whole number.
    return max(1, int(across_x + 1e-6)), max(1, int(across_y + 1e-6))


def _average_blocks(image: np.ndarray, blocks: tuple[int, int], border: int, rounded: bool) -> np.ndarray:
    """Return means over `blocks` (x, y) pixels, in the image's type, or float32 where they are not `rounded`."""
    if blocks == (1, 1):
        return image if rounded else image.astype(np.float32)
    height, width = image.shape[:2]
    # Padded to whole blocks the mean is exact and fast; a fractional ratio takes ten times as long.
    right, bottom = -width % blocks[0], -height % blocks[1]
    if right or bottom:
        fill = (border,) * 4
        image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=fill)
    if not rounded:
        image, blocks = _row_means(image, blocks[1]), (blocks[0], 1)
    steps = []
    while blocks[0] % 2 == blocks[1] % 2 == 0:  # several halvings are faster than one large step
        steps.append((2, 2))
        blocks = (blocks[0] // 2, blocks[1] // 2)
    for x, y in [*steps, blocks]:
        if (x, y) != (1, 1):
            shape = (image.shape[1] // x, image.shape[0] // y)
            image = cv2.resize(image, shape, interpolation=cv2.INTER_AREA)
    return image


def _row_means(image: np.ndarray, rows: int) -> np.ndarray:
    """Return float32 means over so many rows; whole numbers are summed as such, which is several times as fast.

    >>> _row_means(np.array([[1], [2], [5], [7]], np.uint8), 2).tolist()
    [[1.5], [6.0]]
    """
    height, *rest = image.shape
    few = image.dtype == np.uint8 and rows <= 257  # whose sum is below 2 ** 16
    sums = image.reshape(height // rows, rows, -1).sum(1, dtype=np.uint16 if few else np.float32)
    means: np.ndarray = sums.astype(np.float32).reshape(height // rows, *rest)
    means *= np.float32(1 / rows)
    return means


def boxes_after(boxes: np.ndarray, matrix: np.ndarray, points: np.ndarray | None = None) -> np.ndarray:
    """Return the boxes (N, 4) of subjects after a matrix (3, 3), where they have these `points` (N, K, 2) before it.

    Each is about its points as they are then, with the margins that it had; where no point is known, about the ellipse
    that fills it before. So a box that turns does not grow as its corners would ask for, where hardly a subject is.

    >>> quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    >>> boxes_after(np.array([[0.0, 0.0, 4.0, 2.0]]), quarter).round(6) + 0.0
    array([[-2.,  0.,  0.,  4.]])
    >>> eighth = np.array([[1.0, -1, 0], [1, 1, 0], [0, 0, np.sqrt(2)]])
    >>> boxes_after(np.array([[0.0, 0, 9, 9]]), eighth, np.array([[[0.0, 0.0], [9, 9]]])).round(6) + 0.0
    array([[ 0.      ,  0.      ,  0.      , 12.727922]])
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    center, half = (low + high) / 2, (high - low) / 2
    known = center[:, None]
    if points is not None:
        labeled = np.isfinite(points).all(-1).any(1)
        known = np.where(labeled[:, None, None], points.clip(low[:, None], high[:, None]), known)
    own, reach = _span(known)
    now, now_reach = _span(transform(known, matrix))
    step = 1e-3
    columns = [(transform(own + step * axis, matrix) - transform(own, matrix)) / step for axis in np.eye(2)]
    margin = np.sqrt(sum((column * (half - reach)[:, i : i + 1]) ** 2 for i, column in enumerate(columns)))
    shift = sum(column * (center - own)[:, i : i + 1] for i, column in enumerate(columns))
    return np.concatenate([now + shift - now_reach - margin, now + shift + now_reach + margin], 1)


def _span(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return center and half the sides (N, 2) of the box about each row of points (N, K, 2), of which NaN are none."""
    low, high = np.nanmin(points, 1), np.nanmax(points, 1)
    return (low + high) / 2, (high - low) / 2
