"""Tiles of a page: the surroundings of some points, and keypoints drawn at the size at which they are viewed."""

from __future__ import annotations

import numpy as np

from softpoint.functional.coordinates import grid_to_image
from softpoint.labels.skeleton import Skeleton
from softpoint.viz.image_ops import letterbox, resize
from softpoint.viz.overlay import draw_keypoints

_GRAY = 128  # around an image


def crop_around(image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of an image (H, W, 3) that holds all `points` (N, 2), with a margin, and its origin (x, y).

    For points outside it reaches beyond the image, by at most half the image's size, and is gray there.

    >>> crop, origin = crop_around(np.zeros((200, 300, 3), np.uint8), np.array([[100.0, 90.0], [180.0, 110.0]]))
    >>> crop.shape, origin.tolist()
    ((85, 145, 3), [68.0, 58.0])
    """
    size = np.array(image.shape[1::-1])
    low, high = np.clip(points.min(0), -size / 2, size), np.clip(points.max(0), 0, 1.5 * size)
    margin = max(0.3 * float((high - low).max()), 32.0)
    start, stop = np.floor(low - margin).astype(int), np.ceil(high + margin).astype(int) + 1
    # Beyond the image only as far as the points, and 8 px more.
    start = np.maximum(start, np.where(low < 0, np.floor(low - 8), 0).astype(int))
    stop = np.minimum(stop, np.where(high >= size, np.ceil(high + 8), size).astype(int))
    crop = np.full((stop[1] - start[1], stop[0] - start[0], 3), _GRAY, np.uint8)
    (left, top), (right, bottom) = np.maximum(start, 0), np.minimum(stop, size)
    seen = image[top:bottom, left:right]
    crop[top - start[1] :, left - start[0] :][: seen.shape[0], : seen.shape[1]] = seen
    return crop, start.astype(float)


def draw_tile(
    image: np.ndarray,
    keypoints: np.ndarray,
    size: tuple[int, int],
    skeleton: Skeleton,
    *,
    truth: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    names: bool = False,
) -> np.ndarray:
    """Return a tile of `size` (height, width) with an image and the keypoints (N, K, 2) of N subjects.

    Marks are drawn after the image is fitted into the tile, so that they stay legible. Points that are farther from
    the image than the tile is large are left out. `truth` (N, K, 2) and `mask` (K,) are as in `draw_keypoints`.

    >>> draw_tile(np.zeros((50, 100, 3), np.uint8), np.full((1, 1, 2), 5.0), (80, 80), Skeleton(("nose",))).shape
    (80, 80, 3)
    """
    height, width = image.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    canvas = resize(image, (max(1, round(height * scale)), max(1, round(width * scale))))
    truth = np.full(keypoints.shape, np.nan) if truth is None else truth
    both = grid_to_image(np.stack([keypoints, truth]), canvas.shape[1] / width)
    both = np.where((np.abs(both) > 2 * max(size)).any(-1, keepdims=True), np.nan, both)
    for points, labels in zip(*both, strict=True):
        canvas = draw_keypoints(canvas, points, skeleton=skeleton, truth=labels, mask=mask, names=names, upscale=1)
    return letterbox(canvas, size, _GRAY)
