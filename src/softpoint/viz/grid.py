"""Pages of many images: tiles with keypoints drawn at the size at which they are viewed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from softpoint.colors import palette
from softpoint.functional.coordinates import grid_to_image
from softpoint.labels.skeleton import Skeleton
from softpoint.viz.image_ops import letterbox, resize, rgb_view
from softpoint.viz.overlay import draw_keypoints
from softpoint.viz.primitives import draw_disc, draw_ring
from softpoint.viz.text import caption, draw_text, text_size

_WHITE = 255
_GRAY = 128  # around an image
_PAD = 8  # pixels between tiles and around them
_MIN_WIDTH = 160  # pixels of a tile, for its title


def contact_sheet(images: Sequence[np.ndarray], columns: int = 4, titles: Sequence[str] | None = None) -> np.ndarray:
    """Return one image uint8 RGB with `images` (H, W, 3) in rows, each below its title.

    Every image is fitted into a tile of the largest height and width among them, its aspect ratio kept, with white
    around it. A title too long for its tile is shortened. Raises ValueError for no image, and for a number of titles
    other than that of the images.

    >>> contact_sheet([np.zeros((100, 200, 3), np.uint8)] * 3, columns=2).shape
    (224, 424, 3)
    """
    images = [rgb_view(image) for image in images]
    if not images or columns < 1:
        raise ValueError(f"a page needs an image and a column, got {len(images)} images, columns={columns}")
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"{len(images)} images but {len(titles)} titles")
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    growth = max(1.0, _MIN_WIDTH / width)  # where it is too narrow for a title
    tiles = [letterbox(image, (round(height * growth), round(width * growth)), _WHITE) for image in images]
    if titles is not None:
        letters = float(np.clip(0.035 * tiles[0].shape[1], 11, 28))
        tiles = [caption(tile, title, letters, above=True) for tile, title in zip(tiles, titles, strict=True)]
    columns = min(columns, len(tiles))
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (height + _PAD) + _PAD, columns * (width + _PAD) + _PAD, 3), _WHITE, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = _PAD + i // columns * (height + _PAD), _PAD + i % columns * (width + _PAD)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def legend(names: Sequence[str], width: int, height: float = 16.0) -> np.ndarray:
    """Return a white strip (h, width, 3) that explains the marks of `draw_keypoints`: shapes, then each name's color.

    `height` is that of capital letters in pixels; entries that do not fit into a line begin another.

    >>> legend(["nose"], width=300).shape[1]
    300
    """
    gray, pad, line = [_GRAY] * 3, round(height), text_size("Ag", height)[1] + 6
    entries = [("labeled", gray), ("predicted", gray), *zip(names, palette(len(names)).tolist(), strict=True)]
    places, x, y = [], pad, 0
    for text, _ in entries:
        length = text_size(text, height)[0] + 3 * pad
        if x > pad and x + length > width:
            x, y = pad, y + line
        places.append((x, y))
        x += length
    strip = np.full((y + line + pad // 2, width, 3), _WHITE, np.uint8)
    for i, ((text, color), (x, y)) in enumerate(zip(entries, places, strict=True)):
        draw_mark = draw_ring if i == 0 else draw_disc
        draw_mark(strip, np.array([x + pad / 2, y + line / 2]), height / 3, color)
        draw_text(strip, text, (x + 1.2 * pad, y + 2), height, (30, 30, 30))
    return strip


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
    seen = rgb_view(image)[top:bottom, left:right]
    crop[top - start[1] :, left - start[0] :][: seen.shape[0], : seen.shape[1]] = seen
    return crop, start.astype(float)


def draw_tile(
    image: np.ndarray,
    keypoints: np.ndarray,
    size: tuple[int, int],
    skeleton: Skeleton,
    *,
    truth: np.ndarray | None = None,
    confidence: np.ndarray | None = None,
    covariance: np.ndarray | None = None,
    names: bool = False,
) -> np.ndarray:
    """Return a tile of `size` (height, width) with an image and the keypoints (N, K, 2) of N subjects.

    Marks are drawn after the image is fitted into the tile, so that they stay legible. Points that are farther from
    the image than the tile is large are left out. `truth` (N, K, 2), `confidence` (N, K) and `covariance`
    (N, K, 2, 2) are as in `draw_keypoints`.

    >>> draw_tile(np.zeros((50, 100, 3), np.uint8), np.full((1, 1, 2), 5.0), (80, 80), Skeleton(("nose",))).shape
    (80, 80, 3)
    """
    height, width = image.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    canvas = resize(rgb_view(image), (max(1, round(height * scale)), max(1, round(width * scale))))
    truth = np.full(keypoints.shape, np.nan) if truth is None else truth
    growth = canvas.shape[1] / width
    both = grid_to_image(np.stack([keypoints, truth]), growth)
    both = np.where((np.abs(both) > 2 * max(size)).any(-1, keepdims=True), np.nan, both)
    for i, (points, labels) in enumerate(zip(*both, strict=True)):
        canvas = draw_keypoints(
            canvas,
            points,
            confidence=None if confidence is None else confidence[i],
            covariance=None if covariance is None else covariance[i].astype(float) * growth**2,
            skeleton=skeleton,
            truth=labels,
            names=names,
            upscale=1,
        )
    return letterbox(canvas, size, _GRAY)
