"""Positions from the window about the maximum of each map, and the mass in it, in C++ on a CPU."""

from __future__ import annotations

import ctypes

from torch import Tensor

from softpoint.kernels.library import POINTER, SIZES, addresses, loop, sizes

_ARGUMENTS = (POINTER, POINTER, *SIZES, ctypes.c_int64, POINTER, POINTER)


def read_windows(values: Tensor, side: int, saved: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the position (..., 2) of each maximum in cells, and the mass (...) in the window, without gradients.

    `values` (..., H, W) are heatmaps, or logits with what was `saved` when they were read without a temperature.
    """
    shape = values.shape[:-2]
    position, mass = values.new_empty((*shape, 2)), values.new_empty(shape)
    if values.numel():
        given = (*addresses(values, saved), *sizes(values), side, *addresses(position, mass))
        loop("softpoint_windows", _ARGUMENTS)(*given)
    return position, mass
