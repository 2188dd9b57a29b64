"""Words on images, legible on any background."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAPITAL = 22  # pixels of a capital letter at scale 1
_MARGIN = 2  # pixels around the words


def text_size(text: str, height: float) -> tuple[int, int]:
    """Width and height in pixels of the box `draw_text` fills, descenders included.

    >>> text_size("nose", 12)[0] < text_size("left ear", 12)[0]
    True
    """
    (width, rise), descent = cv2.getTextSize(text, _FONT, height / _CAPITAL, 1)
    return width + 2 * _MARGIN, rise + descent + 2 * _MARGIN


def draw_text(canvas: np.ndarray, text: str, corner: tuple[float, float], height: float, color: Sequence[int]) -> None:
    """Write on `canvas` (H, W, 3) uint8, in place; `corner` is the box's upper left (x, y).

    >>> canvas = np.zeros((20, 60, 3), np.uint8)
    >>> draw_text(canvas, "nose", (2, 2), height=12, color=(255, 255, 255))
    >>> int(canvas.max()) > 200
    True
    """
    (_, rise), _ = cv2.getTextSize(text, _FONT, height / _CAPITAL, 1)
    origin = (round(corner[0]) + _MARGIN, round(corner[1]) + _MARGIN + rise)
    ink = np.zeros(canvas.shape[:2], np.uint8)
    cv2.putText(ink, text, origin, _FONT, height / _CAPITAL, 255, 1, cv2.LINE_AA)
    paint(canvas, ink, color)


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


def paint(canvas: np.ndarray, ink: np.ndarray, color: Sequence[int]) -> None:
    """Cover `canvas` (H, W, 3) uint8 with a color, in place, where `ink` (H, W) uint8 is 255.

    >>> canvas = np.zeros((1, 2, 3), np.uint8)
    >>> paint(canvas, np.array([[255, 0]], np.uint8), (9, 9, 9))
    >>> canvas[..., 0].tolist()
    [[9, 0]]
    """
    x, y, width, height = cv2.boundingRect(ink)
    region, cover = canvas[y : y + height, x : x + width], ink[y : y + height, x : x + width, None] / 255
    region[:] = np.round(region + cover * (np.array(color) - region))


def fit_text(text: str, width: float, height: float) -> str:
    """The text, its end replaced by dots where it would be wider than `width` pixels.

    >>> fit_text("a very long file name indeed.png", width=80, height=12).endswith("..")
    True
    """
    if text_size(text, height)[0] <= width:
        return text
    while len(text) > 1 and text_size(text + "..", height)[0] > width:
        text = text[:-1]
    return text + ".."
