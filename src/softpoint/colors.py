"""Colors of keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np

# Okabe and Ito, Color Universal Design, 2008, without black: distinct in every common kind of color vision.
_OKABE_ITO = np.array(
    [(230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167)],
    dtype=np.uint8,
)
# Linear RGB as seen in full, without red cones and without green cones. Source: Machado, Oliveira and Fernandes,
# A Physiologically-based Model for Simulation of Color Vision Deficiency, 2009.
_VISIONS = (
    np.eye(3),
    np.array([(0.1523, 1.0526, -0.2049), (0.1145, 0.7863, 0.0992), (-0.0039, -0.0481, 1.0520)]),
    np.array([(0.3673, 0.8606, -0.2280), (0.2801, 0.6725, 0.0474), (-0.0118, 0.0429, 0.9689)]),
)
_DISTINCT = 128


def palette(num_keypoints: int) -> np.ndarray:
    """Return RGB colors (K, 3) uint8, all different up to 128 keypoints; a keypoint keeps its color as K grows.

    The first seven are safe for color-blind readers. Each further one is as far as possible from all before it, in
    full and in red-green color-blind vision.

    >>> palette(2).tolist()
    [[230, 159, 0], [86, 180, 233]]
    """
    return _ranked_colors()[np.arange(num_keypoints) % _DISTINCT]


def line_colors(num_keypoints: int) -> list[str]:
    """Return the palette as #RRGGBB for lines on white: pale colors are darkened until their contrast is 3.

    >>> line_colors(2)
    ['#c68900', '#4b9dcb']
    """
    return [to_hex(readable(color, (255, 255, 255), 3)) for color in palette(num_keypoints).tolist()]


def to_hex(color: Sequence[int]) -> str:
    """Return an RGB color as #RRGGBB.

    >>> to_hex((0, 158, 115))
    '#009e73'
    """
    return "#" + "".join(f"{channel:02x}" for channel in color)


def luminance(color: Sequence[int]) -> float:
    """Return the relative luminance of an RGB color, 0 for black and 1 for white (WCAG 2.2).

    >>> round(luminance((255, 0, 0)), 4)
    0.2126
    """
    channels = np.array(color) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(first: Sequence[int], second: Sequence[int]) -> float:
    """Return the contrast ratio of two RGB colors, from 1 to 21 (WCAG 2.2).

    >>> contrast((0, 0, 0), (255, 255, 255))
    21.0
    """
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def readable(color: Sequence[int], background: Sequence[int], ratio: float) -> tuple[int, int, int]:
    """Return the color, mixed with as little black or white as gives it a contrast of `ratio` to the background.

    Black is mixed in on a light background, white on a dark one.

    >>> readable((0, 114, 178), (255, 255, 255), 3)
    (0, 114, 178)
    """
    end = np.zeros(3) if luminance(background) > 0.18 else np.full(3, 255.0)
    shares = np.linspace(0, 1, 101)[:, None]
    mixed = np.round((1 - shares) * np.array(color) + shares * end).astype(int).tolist()
    r, g, b = next((shade for shade in mixed if contrast(shade, background) >= ratio), mixed[-1])
    return r, g, b


@cache
def _ranked_colors() -> np.ndarray:
    """Return a farthest-point ordering of an RGB grid that begins with the seven of Okabe and Ito."""
    grid = np.stack(np.meshgrid(*[np.arange(0, 256, 36)] * 3, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.uint8)
    lightness, chroma = (lab := _lab(grid, np.eye(3)))[:, 0], np.hypot(lab[:, 1], lab[:, 2])
    # Colors that stand out from a photograph: neither gray nor too dark nor too pale.
    colors = np.concatenate([_OKABE_ITO, grid[(lightness > 55) & (lightness < 92) & (chroma > 30)]])
    seen = np.stack([_lab(colors, vision) for vision in _VISIONS])
    order = list(range(len(_OKABE_ITO)))
    nearest = np.min([_distance(seen, i) for i in order], axis=0)
    while len(order) < _DISTINCT:
        order.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, _distance(seen, order[-1]))
    return colors[order]


def _lab(colors: np.ndarray, vision: np.ndarray) -> np.ndarray:
    """Return the CIELAB values (N, 3) of RGB colors (N, 3) uint8 in one kind of color vision."""
    linear = (colors / 255) ** 2.2
    seen = np.clip(linear @ vision.T, 0, 1) ** (1 / 2.2)
    lab: np.ndarray = cv2.cvtColor(seen[None].astype(np.float32), cv2.COLOR_RGB2Lab)[0]
    return lab


def _distance(seen: np.ndarray, index: int) -> np.ndarray:
    """Return the smallest distance (N,) over V kinds of vision from one color to all; `seen` is (V, N, 3)."""
    distance: np.ndarray = np.linalg.norm(seen - seen[:, index : index + 1], axis=-1).min(axis=0)
    return distance
