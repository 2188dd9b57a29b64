"""Colors that tell keypoints apart."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

# Okabe and Ito, Color Universal Design, 2008, without black: distinct to every common kind of color vision.
_OKABE_ITO = np.array(
    [
        (230, 159, 0),
        (86, 180, 233),
        (0, 158, 115),
        (240, 228, 66),
        (0, 114, 178),
        (213, 94, 0),
        (204, 121, 167),
    ],
    dtype=np.uint8,
)
# Machado, Oliveira and Fernandes, A Physiologically-based Model for Simulation of Color Vision Deficiency,
# 2009: what linear RGB looks like without red cones, then without green cones.
_VISIONS = (
    np.eye(3),
    np.array([(0.1523, 1.0526, -0.2049), (0.1145, 0.7863, 0.0992), (-0.0039, -0.0481, 1.0520)]),
    np.array([(0.3673, 0.8606, -0.2280), (0.2801, 0.6725, 0.0474), (-0.0118, 0.0429, 0.9689)]),
)
_DISTINCT = 128


def palette(num_keypoints: int) -> np.ndarray:
    """RGB colors (K, 3) uint8, all different up to 128 keypoints; a keypoint keeps its color as K grows.

    The first seven are safe for color-blind readers. Each further one is as far as can be, for red-blind and
    green-blind eyes too, from all before it; past a dozen, shapes and names must help.

    >>> palette(2).tolist()
    [[230, 159, 0], [86, 180, 233]]
    """
    return _ranked_colors()[np.arange(num_keypoints) % _DISTINCT]


@cache
def _ranked_colors() -> np.ndarray:
    """Farthest-point ordering of an RGB grid, begun with the seven of Okabe and Ito."""
    colors = np.concatenate([_OKABE_ITO, _candidates()])
    seen = np.stack([_lab(colors, vision) for vision in _VISIONS])
    order = list(range(len(_OKABE_ITO)))
    nearest = np.min([_distance(seen, i) for i in order], axis=0)
    while len(order) < _DISTINCT:
        order.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, _distance(seen, order[-1]))
    return colors[order]


def _candidates() -> np.ndarray:
    """Grid colors (N, 3) that are neither gray nor too dark or pale to stand out from a photograph."""
    grid = np.stack(np.meshgrid(*[np.arange(0, 256, 36)] * 3, indexing="ij"), axis=-1)
    colors = grid.reshape(-1, 3).astype(np.uint8)
    lab = _lab(colors, np.eye(3))
    lightness, chroma = lab[:, 0], np.hypot(lab[:, 1], lab[:, 2])
    return colors[(lightness > 55) & (lightness < 92) & (chroma > 30)]


def _lab(colors: np.ndarray, vision: np.ndarray) -> np.ndarray:
    """CIELAB (N, 3) of RGB colors (N, 3) uint8 as one kind of eye sees them."""
    linear = (colors / 255) ** 2.2
    seen = np.clip(linear @ vision.T, 0, 1) ** (1 / 2.2)
    return cv2.cvtColor(seen[None].astype(np.float32), cv2.COLOR_RGB2Lab)[0]


def _distance(seen: np.ndarray, index: int) -> np.ndarray:
    """Distance (N,) from one color to all, for the eye that tells them apart worst; `seen` is (V, N, 3)."""
    return np.linalg.norm(seen - seen[:, index : index + 1], axis=-1).min(axis=0)
