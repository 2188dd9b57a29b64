"""Antialiased shapes at sub-pixel coordinates (x, y), drawn in place on a canvas (H, W, 3) uint8.

An integer coordinate is the center of a pixel. All shapes have a dark rim, to stand out from any background.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

Color = Sequence[int]

_SHIFT = 4  # fractional bits of OpenCV's coordinates: sixteenths of a pixel
_LIMIT = 2.0**20  # px, beyond any canvas; larger coordinates would overflow
_RIM = (16, 16, 16)


def draw_disc(canvas: np.ndarray, center: np.ndarray, radius: float, color: Color) -> None:
    """Draw a filled circle.

    >>> canvas = np.zeros((9, 9, 3), np.uint8)
    >>> draw_disc(canvas, np.array([4.0, 4.0]), radius=2, color=(200, 100, 50))
    >>> canvas[4, 4].tolist(), canvas[0, 0].tolist()
    ([200, 100, 50], [0, 0, 0])
    """
    for length, shade in ((radius + 1, _RIM), (radius, color)):
        cv2.circle(canvas, _fixed(center), round(length * 2**_SHIFT), shade, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def draw_ring(canvas: np.ndarray, center: np.ndarray, radius: float, color: Color, width: int = 1) -> None:
    """Draw an open circle."""
    for thickness, shade in ((width + 2, _RIM), (width, color)):
        cv2.circle(canvas, _fixed(center), round(radius * 2**_SHIFT), shade, thickness, cv2.LINE_AA, _SHIFT)


def draw_cross(canvas: np.ndarray, center: np.ndarray, radius: float, color: Color, width: int = 1) -> None:
    """Draw the two diagonals of a square 2 * radius wide."""
    _draw_lines(canvas, center + radius * np.array([[(-1, -1), (1, 1)], [(-1, 1), (1, -1)]]), color, width)


def draw_line(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, color: Color, width: int = 1) -> None:
    """Draw a straight line."""
    _draw_lines(canvas, np.array([[start, end]]), color, width)


def draw_ellipse(canvas: np.ndarray, center: np.ndarray, covariance: np.ndarray, color: Color, width: int = 1) -> None:
    """Draw the outline of an ellipse: two standard deviations of a covariance (2, 2) in px² around the center."""
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    variance, axes = np.linalg.eigh(covariance)
    half_axes = 2 * np.sqrt(variance.clip(min=0)) * axes
    draw_polygon(canvas, center + np.stack([np.cos(angle), np.sin(angle)], axis=1) @ half_axes.T, color, width)


def draw_polygon(canvas: np.ndarray, outline: np.ndarray, color: Color, width: int = 1) -> None:
    """Draw the outline (n, 2) of a polygon."""
    points = np.round(outline.clip(-_LIMIT, _LIMIT) * 2**_SHIFT).astype(np.int32)
    for thickness, shade in ((width + 2, _RIM), (width, color)):
        cv2.polylines(canvas, [points], True, shade, thickness, cv2.LINE_AA, _SHIFT)


def _draw_lines(canvas: np.ndarray, ends: np.ndarray, color: Color, width: int) -> None:
    """Draw lines between pairs of points (N, 2, 2), all rims below all colors."""
    for thickness, shade in ((width + 2, _RIM), (width, color)):
        for start, end in ends:
            cv2.line(canvas, _fixed(start), _fixed(end), shade, thickness, cv2.LINE_AA, _SHIFT)


def _fixed(point: np.ndarray) -> tuple[int, int]:
    """Return a point in OpenCV's fixed-point numbers."""
    x, y = np.round(np.clip(point, -_LIMIT, _LIMIT) * 2**_SHIFT)
    return int(x), int(y)
