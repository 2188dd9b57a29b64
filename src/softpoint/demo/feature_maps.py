"""Feature maps to look at, as float32 logits (H, W) from 0 to `HIGHEST`; random ones are standard normal."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float32

from softpoint.suggest import check_choice
from softpoint.viz.image_ops import resize

Size = tuple[int, int]
HIGHEST, BACKGROUND = 10.0, 3.0
MAX_CELLS = 4_000_000  # of a map or a file: 16 MB as float32


def feature_map(kind: str, size: Size = (64, 64), seed: int = 0) -> Float32[np.ndarray, "H W"]:
    """Return the map of this kind of `KINDS`, of `size` (H, W); `seed` draws a random one.

    Raises ValueError for another kind, for a side below 1 and for more than `MAX_CELLS` cells.

    >>> feature_map("horizontal_gradient", (1, 3)).tolist()
    [[0.0, 5.0, 10.0]]
    """
    check_choice("feature_map", kind, KINDS)
    _check_size(*size)
    return KINDS[kind](size, seed)


def intensity(image: np.ndarray, side: int = 64) -> Float32[np.ndarray, "H W"]:
    """Return the brightness of an image, uint8 (H, W, 3) RGB or (H, W), shrunk to a longer side of `side` cells.

    ValueError for other arrays.

    >>> intensity(np.array([[0, 51], [102, 255]], np.uint8)).tolist()
    [[0.0, 2.0], [4.0, 10.0]]
    """
    if image.dtype != np.uint8 or image.size == 0 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise ValueError(f"an image is a uint8 array (H, W) or (H, W, 3), got {image.shape} of {image.dtype}")
    gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, side / max(gray.shape))
    height, width = (max(1, round(length * scale)) for length in gray.shape)
    _check_size(height, width)
    return _float32(resize(gray, (height, width)) / 255 * HIGHEST)


def example_batch(size: Size = (64, 64), seed: int = 0) -> Float32[np.ndarray, "3 H W 4"]:
    """Return one peak, two peaks, a floor and a radial gradient as channels, under noise of std 0, 0.5 and 1."""
    channels = [feature_map(kind, size) for kind in ("one_peak", "two_peaks", "floor", "radial_gradient")]
    noise = np.random.default_rng(seed).standard_normal((*size, 4), dtype=np.float32)
    return np.stack([np.stack(channels, -1) + np.float32(std) * noise for std in (0, 0.5, 1)])


def horizontal_gradient(size: Size) -> np.ndarray:
    """Return a ramp from the first column to the last."""
    return np.broadcast_to(_ramp(size[1]), size).copy()


def vertical_gradient(size: Size) -> np.ndarray:
    """Return a ramp from the first row to the last."""
    return np.broadcast_to(_ramp(size[0])[:, None], size).copy()


def radial_gradient(size: Size) -> np.ndarray:
    """Return a cone: highest at the center, 0 in the corners."""
    distance = _distance(size, (size[1] - 1) / 2, (size[0] - 1) / 2)
    return _float32(HIGHEST * (1 - distance / max(distance.max(), 1e-6)))


def random_map(size: Size, seed: int) -> np.ndarray:
    """Return independent standard normal logits."""
    return np.random.default_rng(seed).standard_normal(size, dtype=np.float32)


def one_peak(size: Size) -> np.ndarray:
    """Return a Gaussian bump at 0.7 of the width and 0.3 of the height, between cells in general."""
    return _float32(_bump(size, 0.7 * (size[1] - 1), 0.3 * (size[0] - 1)))


def two_peaks(size: Size) -> np.ndarray:
    """Return two equal bumps, mirrored at the center, on cells."""
    x, y = round((size[1] - 1) / 4), round((size[0] - 1) / 3)
    bumps = _bump(size, x, y) + _bump(size, size[1] - 1 - x, size[0] - 1 - y)
    return _float32(np.minimum(bumps, HIGHEST))


def floor(size: Size) -> np.ndarray:
    """Return the one peak on a constant background of `BACKGROUND`."""
    return _float32(np.maximum(one_peak(size), BACKGROUND))


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1 or height * width > MAX_CELLS:
        raise ValueError(f"size {height} x {width} is no size of a map; give sides from 1 to {int(MAX_CELLS**0.5)}")


def _bump(size: Size, x: float, y: float) -> np.ndarray:
    std = max(1.0, min(size) / 12)
    bump: np.ndarray = HIGHEST * np.exp(-0.5 * (_distance(size, x, y) / std) ** 2)
    return bump


def _distance(size: Size, x: float, y: float) -> np.ndarray:
    distance: np.ndarray = np.hypot(np.arange(size[1]) - x, np.arange(size[0])[:, None] - y)
    return distance


def _float32(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float32)


def _ramp(length: int) -> np.ndarray:
    return np.linspace(0, HIGHEST, length, dtype=np.float32)


KINDS: dict[str, Callable[[Size, int], np.ndarray]] = {
    "horizontal_gradient": lambda size, seed: horizontal_gradient(size),
    "vertical_gradient": lambda size, seed: vertical_gradient(size),
    "radial_gradient": lambda size, seed: radial_gradient(size),
    "random": random_map,
    "one_peak": lambda size, seed: one_peak(size),
    "two_peaks": lambda size, seed: two_peaks(size),
    "floor": lambda size, seed: floor(size),
}
