"""Everything that spatial softmax answers about one map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32

from softpoint.functional import (
    decode_heatmap,
    entropy,
    information_content,
    soft_argmax,
    spatial_covariance,
    spatial_softmax,
)

Point = tuple[float, float]


@dataclass(frozen=True)
class Statistics:
    """Statistics over the cells of a map, summed in double precision."""

    minimum: float
    maximum: float
    mean: float
    std: float
    sum: float


@dataclass(frozen=True, eq=False)
class MapAnalysis:
    """A map of logits (H, W) at one temperature: points (x, y) in cells, information in bits.

    `expectation` is the soft-argmax over the whole map, `fit` that of a Gaussian in a window, `argmax` the largest
    cell. `information` is that of the cell (x, y) named `cell`.
    """

    logits: Float32[np.ndarray, "H W"]
    temperature: float
    window: int
    softmax: Float32[np.ndarray, "H W"]
    expectation: Point
    fit: Point
    argmax: Point
    covariance: Float32[np.ndarray, "2 2"]
    entropy: float
    cell: tuple[int, int]
    information: float
    logit_statistics: Statistics
    softmax_statistics: Statistics

    @property
    def std(self) -> Point:
        """Standard deviations (x, y) of the softmax, in cells."""
        return float(self.covariance[0, 0] ** 0.5), float(self.covariance[1, 1] ** 0.5)


def analyze(
    logits: np.ndarray, temperature: float = 1.0, window: int = 9, cell: tuple[int, int] | None = None
) -> MapAnalysis:
    """Return all numbers of the spatial softmax of `logits` (H, W); `cell` (x, y) is the largest one if None.

    Raises ValueError for a temperature that is not positive or by which the logits overflow, a window that is not odd,
    and a cell that is not on the map.

    >>> analysis = analyze(np.zeros((8, 8)))
    >>> analysis.entropy, analysis.information, analysis.expectation
    (6.0, 6.0, (3.5, 3.5))
    """
    maps = torch.from_numpy(np.array(logits, np.float32, order="C"))
    heatmap = spatial_softmax(maps, temperature)
    if not heatmap.isfinite().all():
        raise ValueError(f"logits up to {maps.abs().max():g} / temperature={temperature:g} overflow; raise temperature")
    argmax = _point(decode_heatmap(heatmap, "argmax"))
    x, y = cell = cell or (int(argmax[0]), int(argmax[1]))
    if not (0 <= x < maps.shape[1] and 0 <= y < maps.shape[0]):
        raise ValueError(f"cell {cell} is not on a map of {maps.shape[1]} columns and {maps.shape[0]} rows")
    return MapAnalysis(
        logits=maps.numpy(),
        temperature=temperature,
        window=window,
        softmax=heatmap.numpy(),
        expectation=_point(soft_argmax(maps, temperature)),
        fit=_point(soft_argmax(maps, temperature, window)),
        argmax=argmax,
        covariance=spatial_covariance(heatmap).numpy(),
        entropy=entropy(heatmap).item() + 0.0,  # 0, not -0
        cell=cell,
        information=information_content(heatmap[y, x]).item() + 0.0,
        logit_statistics=statistics(maps.numpy()),
        softmax_statistics=statistics(heatmap.numpy()),
    )


def statistics(values: np.ndarray) -> Statistics:
    """Return the statistics of an array.

    >>> statistics(np.array([[1.0, 3.0]]))
    Statistics(minimum=1.0, maximum=3.0, mean=2.0, std=1.0, sum=4.0)
    """
    wide = values.astype(np.float64)
    return Statistics(*(float(f()) for f in (wide.min, wide.max, wide.mean, wide.std, wide.sum)))


def _point(position: torch.Tensor) -> Point:
    x, y = position.tolist()
    return x, y
