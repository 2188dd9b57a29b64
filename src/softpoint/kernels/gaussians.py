"""Gaussians along an axis, in C++ on a CPU."""

from __future__ import annotations

import ctypes

from torch import Tensor

from softpoint.kernels.library import POINTER, addresses, loop

_ARGUMENTS = (POINTER, ctypes.c_int64, ctypes.c_int64, ctypes.c_float, POINTER)


def render_axis(mean: Tensor, std: float, length: int) -> Tensor:
    """Return a Gaussian (..., length) with a sum of 1 for each mean (...), in cells and without gaps in memory."""
    values = mean.new_empty((*mean.shape, length))
    of_mean, of_values = addresses(mean, values)
    if values.numel():
        loop("softpoint_gaussians", _ARGUMENTS)(of_mean, mean.numel(), length, 1 / std, of_values)
    return values
