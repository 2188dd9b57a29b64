"""Text on images, and names next to points, kept off the points and off each other."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAPITAL = 22  # pixels of a capital letter at scale 1
_MARGIN = 2  # pixels around the text
# Candidate positions around a point, in order of preference: the sides, then the corners, then both farther away.
_SIDES = np.array([(1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1)])
_GAPS = np.array([1.0, 2.5])


def text_size(text: str, height: float) -> tuple[int, int]:
    """Return width and height in pixels of the box of a text with capitals of `height` pixels, descenders included.

    >>> text_size("nose", 12)[0] < text_size("left ear", 12)[0]
    True
    """
    (width, rise), descent = cv2.getTextSize(_encodable(text), _FONT, height / _CAPITAL, 1)
    return width + 2 * _MARGIN, rise + descent + 2 * _MARGIN


def draw_text(canvas: np.ndarray, text: str, corner: tuple[float, float], height: float, color: Sequence[int]) -> None:
    """Write on `canvas` (H, W, 3) uint8, in place; `corner` is the box's upper left (x, y).

    >>> canvas = np.zeros((20, 60, 3), np.uint8)
    >>> draw_text(canvas, "nose", (2, 2), height=12, color=(255, 255, 255))
    >>> int(canvas.max()) > 200
    True
    """
    text = _encodable(text)
    (_, rise), _ = cv2.getTextSize(text, _FONT, height / _CAPITAL, 1)
    origin = (round(corner[0]) + _MARGIN, round(corner[1]) + _MARGIN + rise)
    opacity = np.zeros(canvas.shape[:2], np.uint8)
    cv2.putText(opacity, text, origin, _FONT, height / _CAPITAL, 255, 1, cv2.LINE_AA)
    paint(canvas, opacity, color)


def _encodable(text: str) -> str:
    """The text with "?" for each half of a surrogate pair, which JSON may hold, and which crashes OpenCV."""
    return text.encode("utf-8", "replace").decode()


def draw_tag(canvas: np.ndarray, text: str, corner: tuple[float, float], height: float, color: Sequence[int]) -> None:
    """Write in a light tint of `color` on a darkened box, in place, legible on any background.

    >>> canvas = np.full((20, 60, 3), 200, np.uint8)
    >>> draw_tag(canvas, "nose", (2, 2), height=12, color=(0, 0, 255))
    >>> canvas[3, 3].tolist(), canvas[0, 0].tolist()
    ([50, 50, 50], [200, 200, 200])
    """
    left, top = (max(0, round(x)) for x in corner)
    width, rise = text_size(text, height)
    box = canvas[top : top + rise, left : left + width]
    box[:] = box * 0.25
    draw_text(canvas, text, (left, top), height, [(2 * channel + 255) // 3 for channel in color])


def draw_labels(
    canvas: np.ndarray,
    points: np.ndarray,
    labels: Sequence[str],
    colors: Sequence[Sequence[int]],
    clearance: float,
    others: np.ndarray | None = None,
) -> None:
    """Write each label next to its point (K, 2) on `canvas` (H, W, 3) uint8, in place; none for a NaN point.

    A label begins at least `clearance` pixels from its point, where it covers least of: the outside of the image,
    the labels already written, and the squares of that half width around all points and `others` (N, 2).

    >>> canvas = np.full((40, 80, 3), 90, np.uint8)
    >>> draw_labels(canvas, np.array([[10.0, 20.0]]), ["nose"], [(255, 255, 255)], clearance=6)
    >>> bool((canvas[:, :16] == 90).all()), bool((canvas[:, 16:] == 90).all())
    (True, False)
    """
    height = float(np.clip(0.014 * np.hypot(*canvas.shape[:2]), 10, 40))
    marks = points if others is None else np.concatenate([points, others])
    marks = marks[np.isfinite(marks).all(axis=1)]
    taken = np.concatenate([marks - clearance, marks + clearance], axis=1)
    for i in np.flatnonzero(np.isfinite(points).all(axis=1)).tolist():
        half = np.array(text_size(labels[i], height)) / 2
        centers = points[i] + np.concatenate([_SIDES * (half + gap * clearance) for gap in _GAPS])
        boxes = np.concatenate([centers - half, centers + half], axis=1)
        inside = _overlap(boxes, np.array([[0, 0, canvas.shape[1], canvas.shape[0]]]))
        box = boxes[np.argmin(_overlap(boxes, taken) - 2 * inside)]
        draw_tag(canvas, labels[i], (box[0], box[1]), height, colors[i])
        taken = np.concatenate([taken, box[None]])


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the area (N,) that each box (N, 4) shares with all others (M, 4)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    area: np.ndarray = (high - low).clip(min=0).prod(axis=-1).sum(axis=1)
    return area


def caption(tile: np.ndarray, text: str, height: float, *, above: bool) -> np.ndarray:
    """Return a tile (H, W, 3) with a line of text on white above or below it, shortened to the tile's width.

    >>> caption(np.zeros((40, 90, 3), np.uint8), "nose", 12, above=True)[0, 0].tolist()
    [255, 255, 255]
    """
    bar = text_line(shortened(text, height, tile.shape[1]), height, tile.shape[1])
    return np.concatenate([bar, tile] if above else [tile, bar])


def text_line(text: str, height: float, width: int | None = None) -> np.ndarray:
    """Return a line of text on white (h, w, 3), of a width or as wide as it needs.

    >>> text_line("nose", 12).shape[1] < text_line("left ear", 12).shape[1], text_line("nose", 12, 90).shape[1]
    (True, 90)
    """
    width = text_size(text, height)[0] if width is None else width
    line = np.full((text_size("Ag", height)[1] + 4, width, 3), 255, np.uint8)
    draw_text(line, text, (0, 0), height, (30, 30, 30))
    return line


def shortened(text: str, height: float, width: int) -> str:
    """Return a text without as many of its last letters as it takes to fit into `width` pixels.

    >>> shortened("nose", 12, 90), shortened("left ear of the mouse", 12, 20)
    ('nose', 'l..')
    """
    while len(text) > 3 and text_size(text, height)[0] > width:
        text = text.removesuffix("..")[:-1] + ".."
    return text


def paint(canvas: np.ndarray, opacity: np.ndarray, color: Sequence[int]) -> None:
    """Blend a color over `canvas` (H, W, 3) uint8, in place; `opacity` (H, W) uint8 covers it at 255.

    >>> canvas = np.zeros((1, 2, 3), np.uint8)
    >>> paint(canvas, np.array([[255, 0]], np.uint8), (9, 9, 9))
    >>> canvas[..., 0].tolist()
    [[9, 0]]
    """
    x, y, width, height = cv2.boundingRect(opacity)
    if not width:
        return
    region, cover = canvas[y : y + height, x : x + width], opacity[y : y + height, x : x + width]
    # All of a large shape but its edge has one opacity: a table of 256 values blends that.
    middle = cover[height // 2, width // 2]
    inside = (cover == middle).astype(np.uint8)
    edge = np.nonzero((cover != 0) & (cover != middle))
    blended = _blend(region[edge], cover[edge][:, None], color)
    table = _blend(np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1), middle[None, None], color)
    cv2.copyTo(cv2.LUT(region, table[:, None]), inside, region)
    region[edge] = blended


def _blend(values: np.ndarray, cover: np.ndarray, color: Sequence[int]) -> np.ndarray:
    """Return `color` over values (N, 3), uint8, to the nearest, which is never halfway."""
    sums = np.multiply(values, 255 - cover, dtype=np.uint16)
    sums += np.multiply(cover, np.array(color, np.uint16), dtype=np.uint16) + np.uint16(127)
    blended: np.ndarray = (sums // np.uint16(255)).astype(np.uint8)
    return blended
