"""The part of an image that a sample shows, all of it or the box of one subject, and its size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from softpoint.data.geometry import letterbox_matrix, translate, zoom

PIXELS = 110_592  # of an input, where nothing decides it


def check_size(size: int | Sequence[int]) -> tuple[int, int]:
    """Return height and width of a network's input; ValueError for anything but positive whole numbers.

    >>> check_size(64), check_size([48, 64])
    ((64, 64), (48, 64))
    """
    sides = list(size) if isinstance(size, Sequence) else [size, size]
    if len(sides) != 2 or not all(isinstance(side, int) for side in sides):
        raise ValueError(f"data.size={size} is no size; give one number for a square, or [height,width]")
    if min(sides) < 1:
        raise ValueError(f"data.size {sides} must be positive")
    return sides[0], sides[1]


def is_size_open(size: Any, pixels: Any) -> bool:
    """Return whether `data.size` and `data.pixels` leave the input to the speed of a machine, in a run of minutes."""
    return size is None and pixels == "auto"


def fitting_size(shapes: np.ndarray, pixels: int, multiple: int = 32) -> tuple[int, int]:
    """Return the input size (height, width) of about `pixels` whose shape fits images or crops of `shapes` (N, 2) best.

    Both sides are multiples of `multiple`, and no larger than the median image: more pixels would hold no more detail.
    Raises ValueError for fewer pixels than one square of that side.

    >>> fitting_size(np.array([[480, 640], [480, 640], [200, 200]]), 110_592)
    (288, 384)
    >>> fitting_size(np.array([[100, 100]]), 100_000)
    (128, 128)
    """
    if pixels < multiple**2:
        raise ValueError(f"data.pixels={pixels} is less than {multiple} x {multiple}; 65536 is 256 x 256")
    aspect = math.exp(np.median(np.log(shapes[:, 1] / shapes[:, 0])))
    shown = min(pixels, float(np.median(shapes.prod(1))))
    height = math.sqrt(shown / aspect)
    sides = np.array([height, height * aspect]) / multiple
    # Images that are smaller than the input keep all their pixels.
    rounded = np.ceil(sides - 1e-6) if shown < pixels else np.round(sides)
    rows, columns = (rounded.clip(1) * multiple).astype(int).tolist()
    return rows, columns


def input_matrix(
    size: tuple[int, int], box: np.ndarray | None, into: tuple[int, int], padding: float = 1.0
) -> np.ndarray:
    """Return the matrix from an image of `size` (H, W) to an input `into` (H, W) that shows its box, or all of it."""
    return letterbox_matrix(size, into) if box is None else crop_matrix(box, into, padding)


def crop_matrix(box: np.ndarray, into: tuple[int, int], padding: float = 1.0) -> np.ndarray:
    """Return the matrix from an image to an input `into` (H, W) that shows a box (left, top, right, bottom).

    The box, enlarged by the factor `padding`, keeps its aspect and is centered; the input's margins show the image
    around it.

    >>> crop_matrix(np.array([-0.5, -0.5, 99.5, 49.5]), (100, 100)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 25.0], [0.0, 0.0, 1.0]]
    """
    low, high = box[:2], box[2:]
    width, height = (high - low) * padding
    scale = min(into[1] / width, into[0] / height)
    (x, y), (u, v) = (low + high) / 2, ((into[1] - 1) / 2, (into[0] - 1) / 2)
    return np.asarray(translate(u - x, v - y) @ zoom(scale, (float(x), float(y))))
