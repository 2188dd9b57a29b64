"""Many images on one page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from softpoint.viz.image_ops import check_image, letterbox
from softpoint.viz.text import caption

_WHITE = 255
_MIN_WIDTH = 160  # pixels of a tile, for its title


def contact_sheet(
    images: Sequence[np.ndarray],
    columns: int = 4,
    *,
    pad: int = 8,
    titles: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Return one image uint8 RGB with `images` (H, W, 3) in rows, each below its title.

    Every image is fitted into a tile of `size` (height, width), by default the largest height and width among
    them, its aspect ratio kept; `pad` white pixels separate and surround the tiles. A title too long for its tile
    is shortened. Raises ValueError for no image, and for a number of titles other than that of the images.

    >>> contact_sheet([np.zeros((100, 200, 3), np.uint8)] * 3, columns=2, pad=10).shape
    (230, 430, 3)
    """
    for image in images:
        check_image(image)
    if not images or columns < 1:
        raise ValueError(f"a page needs an image and a column, got {len(images)} images, columns={columns}")
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"{len(images)} images but {len(titles)} titles")
    tiles = [letterbox(image, size or _common_size(images), _WHITE) for image in images]
    if titles is not None:
        letters = float(np.clip(0.035 * tiles[0].shape[1], 11, 28))
        tiles = [caption(tile, title, letters, above=True) for tile, title in zip(tiles, titles, strict=True)]
    columns = min(columns, len(tiles))
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (height + pad) + pad, columns * (width + pad) + pad, 3), _WHITE, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = pad + i // columns * (height + pad), pad + i % columns * (width + pad)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def _common_size(images: Sequence[np.ndarray]) -> tuple[int, int]:
    """Return the largest height and width, both scaled up where the width is too narrow for a title."""
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    growth = max(1.0, _MIN_WIDTH / width)
    return round(height * growth), round(width * growth)
