"""Sub-pixel marks: antialiased shapes at (x, y) in pixels, drawn in place on (H, W, 3) uint8 canvases.

The integer is the center of a pixel. All but the ellipse have a dark rim, to show on any background.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from softpoint.viz.text import paint

Color = Sequence[int]

_SHIFT = 4  # fractional bits of the coordinates handed to OpenCV: sixteenths of a pixel
_FAR = 2.0**20  # beyond any canvas; more would overflow those coordinates
_RIM = (16, 16, 16)


def draw_disc(canvas: np.ndarray, center: np.ndarray, radius: float, color: Color) -> None:
    """A filled circle.

    >>> canvas = np.zeros((9, 9, 3), np.uint8)
    >>> draw_disc(canvas, np.array([4.0, 4.0]), radius=2, color=(200, 100, 50))
    >>> canvas[4, 4].tolist(), canvas[0, 0].tolist()
    ([200, 100, 50], [0, 0, 0])
    """
    point = _fixed(center)
    cv2.circle(canvas, point, _length(radius + 1), _RIM, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    cv2.circle(canvas, point, _length(radius), color, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def draw_ring(canvas: np.ndarray, center: np.ndarray, radius: float, color: Color, width: int = 1) -> None:
    """An open circle."""
    for thickness, ink in ((width + 2, _RIM), (width, color)):
        cv2.circle(canvas, _fixed(center), _length(radius), ink, thickness, cv2.LINE_AA, _SHIFT)


def draw_cross(canvas: np.ndarray, center: np.ndarray, radius: float, color: Color, width: int = 1) -> None:
    """Two diagonal strokes of a square 2 * radius wide."""
    arms = radius * np.array([[(-1, -1), (1, 1)], [(-1, 1), (1, -1)]])
    for thickness, ink in ((width + 2, _RIM), (width, color)):
        for start, end in center + arms:
            cv2.line(canvas, _fixed(start), _fixed(end), ink, thickness, cv2.LINE_AA, _SHIFT)


def draw_line(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, color: Color, width: int = 1) -> None:
    """A straight stroke."""
    for thickness, ink in ((width + 2, _RIM), (width, color)):
        cv2.line(canvas, _fixed(start), _fixed(end), ink, thickness, cv2.LINE_AA, _SHIFT)


def draw_ellipse(canvas: np.ndarray, center: np.ndarray, covariance: np.ndarray, sigmas: float, color: Color) -> None:
    """A translucent ellipse, `sigmas` standard deviations of a covariance (2, 2) in px² around the center."""
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    variance, axes = np.linalg.eigh(covariance)
    half_axes = sigmas * np.sqrt(variance.clip(min=0)) * axes
    outline = center + np.stack([np.cos(angle), np.sin(angle)], axis=1) @ half_axes.T
    points = np.array([_fixed(point) for point in outline], dtype=np.int32)
    ink = np.zeros(canvas.shape[:2], np.uint8)
    cv2.fillPoly(ink, [points], 70, cv2.LINE_AA, _SHIFT)
    cv2.polylines(ink, [points], True, 200, 1, cv2.LINE_AA, _SHIFT)
    paint(canvas, ink, color)


def _fixed(point: np.ndarray) -> tuple[int, int]:
    x, y = np.round(np.clip(point, -_FAR, _FAR) * 2**_SHIFT)
    return int(x), int(y)


def _length(pixels: float) -> int:
    return round(pixels * 2**_SHIFT)
