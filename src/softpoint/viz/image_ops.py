"""Images as arrays and files: the check of their shape, and changes of size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from softpoint.paths import atomic_write


def rgb_view(image: np.ndarray) -> np.ndarray:
    """Return an image uint8 (H, W, C) as RGB (H, W, 3): of more channels the first three, of two the second twice.

    Raises ValueError for another kind of array.

    >>> rgb_view(np.array([[[1, 2, 3, 4, 5]]], np.uint8)).tolist(), rgb_view(np.array([[[7]]], np.uint8)).tolist()
    ([[[1, 2, 3]]], [[[7, 7, 7]]])
    >>> rgb_view(np.zeros((3, 8, 8), np.float32))
    Traceback (most recent call last):
    ValueError: an image is an array (height, width, channels) of uint8, got (3, 8, 8) of float32
    """
    if image.ndim == 2:  # as OpenCV returns a single channel
        image = image[..., None]
    if image.ndim != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"an image is an array (height, width, channels) of uint8, got {image.shape} of {image.dtype}")
    count = image.shape[2]
    return image if count == 3 else np.ascontiguousarray(image[..., [min(i, count - 1) for i in range(3)]])


def enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    """Return a copy of `image` (H, W, 3) with `factor` x `factor` pixels for each; ValueError for a factor below 1.

    >>> enlarge(np.zeros((2, 3, 3), np.uint8), 4).shape
    (8, 12, 3)
    """
    if factor < 1:
        raise ValueError(f"upscale must be a whole number of at least 1, got {factor}")
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return `image` (H, W) or (H, W, 3) stretched to `size` (height, width), outer edge to outer edge.

    >>> resize(np.array([[0, 8]], np.float32), (1, 4)).tolist()
    [[0.0, 2.0, 6.0, 8.0]]
    """
    # Averaging areas is right for shrinking alone.
    shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def letterbox(image: np.ndarray, size: tuple[int, int], fill: int) -> np.ndarray:
    """Return `image` (H, W, 3) as large as fits into `size` (height, width), centered, its aspect ratio kept.

    >>> letterbox(np.zeros((10, 20, 3), np.uint8), (40, 40), fill=255)[:, 0, 0].tolist().count(0)
    20
    """
    height, width = image.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    inner = max(1, round(height * scale)), max(1, round(width * scale))
    tile = np.full((*size, 3), fill, np.uint8)
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    tile[top : top + inner[0], left : left + inner[1]] = resize(image, inner)
    return tile


def write_image(path: Path, image: np.ndarray) -> None:
    """Write a uint8 image (H, W, C), as RGB, in the format of the path's suffix; OSError where that fails."""
    with atomic_write(path) as temporary:
        if not cv2.imwrite(str(temporary), rgb_view(image)[..., ::-1]):
            raise OSError(f"cannot write {path}")
