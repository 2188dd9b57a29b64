"""Round blobs at exact places, and the places that their pixels show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def blob(
    size: tuple[int, int], point: Sequence[float] | np.ndarray, sigma: float, dtype: type = np.uint8
) -> np.ndarray:
    """Return an image (H, W, 3) of a Gaussian of height 250 at (x, y)."""
    columns, rows = (
        np.exp(-((np.arange(side) - center) ** 2) / (2 * sigma**2))
        for side, center in zip(size[::-1], point, strict=True)
    )
    gray = 250 * np.outer(rows, columns)
    return np.repeat((gray.round() if dtype is np.uint8 else gray).astype(dtype)[..., None], 3, axis=2)


def centroid(image: np.ndarray, background: float = 0.0) -> np.ndarray:
    """Return the center of mass (x, y) of the sum of the channels of an image (H, W, C) above `background`."""
    weight = np.clip(image.astype(float).sum(axis=2) - background, 0, None)
    y, x = np.mgrid[: weight.shape[0], : weight.shape[1]]
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


def assert_exact(errors: Sequence[np.ndarray] | np.ndarray, allowance: np.ndarray | float = 0.0) -> None:
    """Errors (N, 2) are at most 0.02 px long in the mean, and their mean is no shift above 0.005 px and `allowance`."""
    assert np.linalg.norm(errors, axis=1).mean() <= 0.02
    shift = np.mean(errors, axis=0)
    assert (np.abs(shift) <= 0.005 + allowance).all(), shift
