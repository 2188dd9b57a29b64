"""Differentiable position of the maximum of logit maps."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from softpoint.functional.gaussian_fit import read_window
from softpoint.functional.map_statistics import map_statistics
from softpoint.functional.spatial import Dims, as_floating, check_temperature, rows_and_columns_last, widen


def soft_argmax(
    logits: Float[Tensor, "..."] | Tensor,
    temperature: float | Tensor = 1.0,
    window: int | None = None,
    normalized: bool = False,
    dim: Dims = (-2, -1),
) -> Float[Tensor, "... 2"]:
    """Differentiable position (x, y) of the maximum, in cells: spatial softmax, then its mean, in float32.

    The mean of the whole map is biased to the map's center as soon as the map has a floor or a second mode. `window`,
    an odd number of cells, takes the mean of a Gaussian fitted to this neighborhood of the maximum instead, also where
    a border cuts it (`window_expectation`). `normalized=True` measures in [-1, 1], as `spatial_expectation` does.

    >>> import torch
    >>> logits = torch.zeros(9, 9); logits[2, 6] = 8.0
    >>> soft_argmax(logits).tolist(), soft_argmax(logits, window=3).tolist()
    ([5.947..., 2.052...], [6.0, 2.0])
    """
    logits = as_floating(logits)
    if isinstance(temperature, Tensor) and tuple(dim) != (-2, -1):  # it broadcasts against the logits as they are
        check_temperature(temperature)
        logits, temperature = widen(logits) / temperature, 1.0
    maps = rows_and_columns_last(logits, dim)
    if window is None:
        position = map_statistics(maps, temperature=temperature, moments=1).mean
    else:
        check_temperature(temperature)
        maps = widen(maps) / temperature
        position, _ = read_window(maps, window, map_statistics(maps, moments=1))
    if not normalized:
        return position
    last = position.new_tensor([maps.shape[-1] - 1, maps.shape[-2] - 1])
    return position / last.clamp_min(1) * 2 - (last > 0).to(position)
