"""Many images on one page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from softpoint.viz.image_ops import check_image, letterbox
from softpoint.viz.text import draw_text, fit_text, text_size

_PAPER, _INK = 255, (30, 30, 30)
_NARROWEST = 160  # pixels a tile needs for its title


def contact_sheet(
    images: Sequence[np.ndarray],
    columns: int = 4,
    *,
    pad: int = 8,
    titles: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """One image uint8 RGB of `images` (H, W, 3) row by row, each under its title.

    Every image is fitted into a tile of `size` (height, width), by default the largest height and width among
    them, its proportions kept; `pad` pixels of paper lie between tiles and around them. A title too long for
    its tile ends in dots. Raises ValueError for no image, or titles that are not one an image.

    >>> contact_sheet([np.zeros((100, 200, 3), np.uint8)] * 3, columns=2, pad=10).shape
    (230, 430, 3)
    """
    _check(images, columns, titles)
    size = size or _common_size(images)
    tiles = [letterbox(image, size, _PAPER) for image in images]
    if titles is not None:
        tiles = [_titled(tile, title) for tile, title in zip(tiles, titles, strict=True)]
    columns = min(columns, len(tiles))
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (height + pad) + pad, columns * (width + pad) + pad, 3), _PAPER, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = pad + i // columns * (height + pad), pad + i % columns * (width + pad)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def _common_size(images: Sequence[np.ndarray]) -> tuple[int, int]:
    """The largest height and width, grown together where the width is too narrow for a title."""
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    growth = max(1.0, _NARROWEST / width)
    return round(height * growth), round(width * growth)


def _titled(tile: np.ndarray, title: str) -> np.ndarray:
    """The tile under a line of text that grows with it."""
    height = float(np.clip(0.035 * tile.shape[1], 11, 28))
    bar = np.full((text_size("Ag", height)[1] + 4, tile.shape[1], 3), _PAPER, np.uint8)
    draw_text(bar, fit_text(title, tile.shape[1], height), (0, 0), height, _INK)
    return np.concatenate([bar, tile])


def _check(images: Sequence[np.ndarray], columns: int, titles: Sequence[str] | None) -> None:
    for image in images:
        check_image(image)
    if not images or columns < 1:
        raise ValueError(f"a sheet needs an image and a column, got {len(images)} images, columns={columns}")
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"{len(images)} images but {len(titles)} titles")
