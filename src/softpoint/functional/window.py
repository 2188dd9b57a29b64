"""The mean of a map in the neighbourhood of its maximum, unbiased where the map's border cuts it."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def peak_window(
    maps: Float[Tensor, "*batch H W"], window: int
) -> tuple[Bool[Tensor, "*batch H"], Bool[Tensor, "*batch W"], Int[Tensor, "*batch 2"]]:
    """Rows and columns within a `window` x `window` square about each maximum, and its cell (x, y).

    Raises ValueError for a window that is not a positive odd number.
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window must be an odd number of cells, got {window}; try {max(window, 0) // 2 * 2 + 1}")
    height, width = maps.shape[-2:]
    cell = maps.flatten(-2).argmax(-1)
    row, column = cell // width, cell % width
    rows = (torch.arange(height, device=maps.device) - row[..., None]).abs() <= window // 2
    columns = (torch.arange(width, device=maps.device) - column[..., None]).abs() <= window // 2
    return rows, columns, torch.stack((column, row), -1)


def window_mass(maps: Float[Tensor, "*batch H W"], window: int) -> Float[Tensor, "*batch"]:
    """How much of each map lies in the window about its maximum: of a heatmap, a probability.

    >>> window_mass(torch.full((4, 4), 1 / 16), 3).item()
    0.25
    """
    rows, columns, _ = peak_window(maps, window)
    return ((maps * columns[..., None, :]).sum(-1) * rows).sum(-1)


def window_expectation(maps: Float[Tensor, "*batch H W"], window: int) -> Float[Tensor, "*batch 2"]:
    """Mean position (x, y) within the window about each maximum, in cells.

    Where the window is cut by the border, the mean of what is left would lean inwards (by half a cell for
    a blob of 1.25 cells on the border); there `truncated_gaussian_mean` takes its place, axis by axis.

    >>> maps = torch.zeros(5, 5); maps[0, 4] = 1
    >>> window_expectation(maps, 3).tolist()
    [4.0, 0.0]
    """
    rows, columns, peak = peak_window(maps, window)
    x_marginal = (maps * rows[..., :, None]).sum(-2) * columns
    y_marginal = (maps * columns[..., None, :]).sum(-1) * rows
    x = _axis_mean(x_marginal, peak[..., 0], window // 2)
    y = _axis_mean(y_marginal, peak[..., 1], window // 2)
    return torch.stack((x, y), -1)


def _axis_mean(mass: Float[Tensor, "*batch N"], peak: Int[Tensor, "*batch"], radius: int) -> Float[Tensor, "*batch"]:
    length = mass.shape[-1]
    cells = torch.arange(length, device=mass.device, dtype=mass.dtype)
    offset = cells - peak[..., None].to(mass.dtype)
    total = mass.sum(-1)
    smallest = torch.finfo(mass.dtype).tiny
    mean = (mass * offset).sum(-1) / total.clamp_min(smallest)
    cut = (peak < radius) | (peak > length - 1 - radius)
    first = (peak - radius).clamp_min(0)[..., None].to(mass.dtype)
    last = (peak + radius).clamp_max(length - 1)[..., None].to(mass.dtype)
    corrected = truncated_gaussian_mean(
        mass / total.clamp_min(smallest)[..., None], offset, cells - first, last - cells
    )
    return torch.where(cut, corrected, mean) + peak.to(mass.dtype)


def truncated_gaussian_mean(
    mass: Float[Tensor, "*batch N"],
    offset: Float[Tensor, "*batch N"],
    from_first: Float[Tensor, "*batch N"],
    to_last: Float[Tensor, "*batch N"],
) -> Float[Tensor, "*batch"]:
    """Mean of the Gaussian of which `mass` is the part between a first and a last cell, as an offset.

    Score matching on a bounded interval: for a Gaussian p and a taper w that vanishes at both ends,
    E[w (x - m)] = s E[w'] and E[w x (x - m)] = s E[w + w' x], two linear equations for the mean m and the
    variance s. The taper is a cubic bump from one cell before the first to one after the last, smooth
    enough that sums over cells stand for integrals. Source: Hyvärinen, Some extensions of score matching,
    CSDA 51(5), 2007.
    """
    left, right = (from_first + 1).clamp_min(0), (to_last + 1).clamp_min(0)
    # Scaling to the interval's half-length keeps the sixth powers of order one.
    half = (left + right).amax(-1, keepdim=True) / 2
    u, v, x = left / half, right / half, offset / half
    taper = (u * v) ** 3
    slope = 3 * (u * v) ** 2 * (v - u)
    w0, w1, w2 = (mass * taper).sum(-1), (mass * taper * x).sum(-1), (mass * taper * x * x).sum(-1)
    d0, d1 = (mass * slope).sum(-1), (mass * (taper + slope * x)).sum(-1)
    determinant = w0 * d1 - w1 * d0
    # A flat stretch determines nothing: there the maximum itself is the answer.
    known = determinant > 1e-6 * w0 * w0
    mean = (w1 * d1 - w2 * d0) / torch.where(known, determinant, torch.ones_like(determinant))
    mean = (mean * half[..., 0]).clamp(-from_first.clamp_min(0).amax(-1) - 0.5, to_last.clamp_min(0).amax(-1) + 0.5)
    return torch.where(known, mean, torch.zeros_like(mean))
