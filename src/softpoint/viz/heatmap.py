"""Heatmaps in color, alone and over their image."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from softpoint.viz.grid import contact_sheet
from softpoint.viz.image_ops import resize, rgb_view

_TILE_WIDTH, _COLUMNS = 240, 9


def colorize(heatmap: np.ndarray, top: float | None = None) -> np.ndarray:
    """Return RGB (h, w, 3) uint8 of `heatmap` (h, w): black at 0, pale yellow at `top`, or at its own maximum.

    >>> colorize(np.array([[0.0, 0.1, 0.2]])).sum(axis=-1).tolist()
    [[4, 327, 671]]
    """
    gray = np.round(255 * _normalized(heatmap, top)).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(gray, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)


def blend_heatmap(image: np.ndarray, heatmap: np.ndarray, top: float | None = None) -> np.ndarray:
    """Return `image` (H, W, 3) uint8 in gray under the colors of `heatmap` (h, w), which spans the whole image.

    The brightest color is that of `top`, by default of the heatmap's own maximum.

    >>> blend_heatmap(np.zeros((8, 8, 3), np.uint8), np.eye(2)).shape
    (8, 8, 3)
    """
    image = rgb_view(image)
    heat = resize(_normalized(heatmap, top), (image.shape[0], image.shape[1]))
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    # The root keeps a faint background visible, which biases a soft-argmax.
    cover = 0.85 * np.sqrt(heat)[..., None]
    blend: np.ndarray = np.round((1 - cover) * gray + cover * colorize(heat, 1.0 if top else None)).astype(np.uint8)
    return blend


def heatmap_row(image: np.ndarray, heatmaps: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return copies of `image` (H, W, 3) uint8 under each of `heatmaps` (K, h, w), with their names, nine per row.

    Each heatmap is scaled by its own maximum and spans the whole image.

    >>> heatmap_row(np.zeros((48, 64, 3), np.uint8), np.ones((2, 6, 8)), ["nose", "tail"]).ndim
    3
    """
    image = rgb_view(image)
    if heatmaps.ndim != 3 or len(heatmaps) != len(names):
        raise ValueError(f"heatmaps have shape {heatmaps.shape} but {len(names)} names need one map (h, w) each")
    small = fit_width(image, _TILE_WIDTH)
    return contact_sheet([blend_heatmap(small, heatmap) for heatmap in heatmaps], _COLUMNS, titles=names)


def fit_width(image: np.ndarray, width: int) -> np.ndarray:
    """Return `image` (H, W, 3) resized to `width`, or to less if its height would exceed twice that.

    >>> fit_width(np.zeros((10, 20, 3), np.uint8), 40).shape
    (20, 40, 3)
    >>> fit_width(np.zeros((40, 10, 3), np.uint8), 40).shape
    (80, 20, 3)
    """
    image = rgb_view(image)
    scale = min(width / image.shape[1], 2 * width / image.shape[0])
    return resize(image, (max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))))


def _normalized(heatmap: np.ndarray, top: float | None = None) -> np.ndarray:
    """Return `heatmap` (h, w) as float32, 1 at `top` or at its maximum; negative and non-finite values become 0."""
    heat = np.where(np.isfinite(heatmap), heatmap, 0).astype(np.float32).clip(min=0)
    normalized: np.ndarray = heat / max(float(heat.max()) if top is None else top, np.finfo(np.float32).tiny)
    return normalized.clip(max=1)
