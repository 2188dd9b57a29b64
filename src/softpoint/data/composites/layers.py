"""Subjects of an image as layers, from back to front: how they are painted, and what is seen of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Layer(NamedTuple):
    """A subject in an image, whose `paint` (h, w, C + 1) begins at `corner` (x, y)."""

    paint: np.ndarray
    corner: tuple[int, int]
    keypoints: np.ndarray
    visibility: np.ndarray
    box: np.ndarray
    behind: np.ndarray | None  # uint8 (h, w, C), the background of an image's own subject where it is known
    own: int | None  # the number of the image's own subject; None for a pasted one

    @property
    def cover(self) -> np.ndarray:
        """Which part (h, w) of each pixel is of the subject."""
        return np.asarray(self.paint[..., -1])

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the pixels in the image."""
        (left, top), (height, width) = self.corner, self.paint.shape[:2]
        return slice(top, top + height), slice(left, left + width)


def painted(image: np.ndarray, layers: Sequence[Layer]) -> np.ndarray:
    """Return a copy of an image (H, W, C) with its own and pasted layers, from back to front.

    Where nothing is pasted, its pixels are as they were: its own subjects cover the background, or themselves.
    """
    canvas = image.astype(np.float32)
    for layer in layers:
        if layer.behind is not None:
            part = canvas[layer.place]
            part[:] = np.where(layer.cover[..., None] > 0, layer.behind, part)
    for layer in layers:
        part = canvas[layer.place]
        part += layer.paint[..., :-1] - layer.cover[..., None] * part
    return np.asarray(canvas.round().clip(0, 255), image.dtype)


def seen_fractions(layers: Sequence[Layer], size: tuple[int, int]) -> list[float]:
    """Return which fraction of each layer, from back to front, is seen in an image of `size` (H, W).

    An image's own subjects do not cover each other: their masks are estimates, and each may hold a neighbor.
    """
    under_all, under_pasted, fractions = np.ones(size, np.float32), np.ones(size, np.float32), []
    for layer in reversed(layers):
        cover = layer.cover
        open_ = (under_all if layer.own is None else under_pasted)[layer.place]
        fractions.append(float((open_ * cover).sum() / max(float(cover.sum()), 1e-6)))
        under_all[layer.place] *= 1 - cover
        if layer.own is None:
            under_pasted[layer.place] *= 1 - cover
    return fractions[::-1]


def visibility_of(layers: Sequence[Layer], depth: int) -> np.ndarray:
    """Return the visibility (K,) of a layer, whose visible points are occluded where one in front covers them.

    Those of an image's own subjects are as labeled where only other own ones are in front.
    """
    layer = layers[depth]
    hidden = np.zeros(len(layer.keypoints), bool)
    known = np.isfinite(layer.keypoints).all(1)
    columns, rows = np.where(known[:, None], layer.keypoints, -1e6).round().astype(int).T
    for front in layers[depth + 1 :]:
        if front.own is not None and layer.own is not None:
            continue
        (height, width), (left, top) = front.cover.shape, front.corner
        inside = (columns >= left) & (rows >= top) & (columns < left + width) & (rows < top + height)
        hidden[inside] |= front.cover[rows[inside] - top, columns[inside] - left] > 0.5
    return np.where(hidden & (layer.visibility == 2), 1, layer.visibility)
