"""Heatmaps in color, alone and over their image."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from softpoint.viz.grid import contact_sheet
from softpoint.viz.image_ops import check_image, resize

_TILE_WIDTH, _COLUMNS = 240, 9


def colorize(heatmap: np.ndarray) -> np.ndarray:
    """Return RGB (h, w, 3) uint8 of `heatmap` (h, w): black at 0, pale yellow at its own maximum.

    >>> colorize(np.array([[0.0, 0.1, 0.2]])).sum(axis=-1).tolist()
    [[4, 327, 671]]
    """
    gray = np.round(255 * _normalized(heatmap)).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(gray, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)


def blend_heatmap(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Return `image` (H, W, 3) uint8 in gray under the colors of `heatmap` (h, w), which spans the whole image.

    >>> blend_heatmap(np.zeros((8, 8, 3), np.uint8), np.eye(2)).shape
    (8, 8, 3)
    """
    check_image(image)
    heat = resize(_normalized(heatmap), (image.shape[0], image.shape[1]))
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    # The root keeps a faint background visible, which biases a soft-argmax.
    cover = 0.85 * np.sqrt(heat)[..., None]
    blend: np.ndarray = np.round((1 - cover) * gray + cover * colorize(heat)).astype(np.uint8)
    return blend


def heatmap_row(image: np.ndarray, heatmaps: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return copies of `image` (H, W, 3) uint8 under each of `heatmaps` (K, h, w), with their names, nine per row.

    Each heatmap is scaled by its own maximum and spans the whole image.

    >>> heatmap_row(np.zeros((48, 64, 3), np.uint8), np.ones((2, 6, 8)), ["nose", "tail"]).ndim
    3
    """
    check_image(image)
    if heatmaps.ndim != 3 or len(heatmaps) != len(names):
        raise ValueError(f"heatmaps have shape {heatmaps.shape} but {len(names)} names need one map (h, w) each")
    height = max(1, round(image.shape[0] * _TILE_WIDTH / image.shape[1]))
    small = resize(image, (height, _TILE_WIDTH))
    return contact_sheet([blend_heatmap(small, heatmap) for heatmap in heatmaps], _COLUMNS, titles=names)


def _normalized(heatmap: np.ndarray) -> np.ndarray:
    """Return `heatmap` (h, w) as float32 with maximum 1; negative and non-finite values become 0."""
    heat = np.where(np.isfinite(heatmap), heatmap, 0).astype(np.float32).clip(min=0)
    normalized: np.ndarray = heat / max(float(heat.max()), np.finfo(np.float32).tiny)
    return normalized
