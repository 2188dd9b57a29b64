"""What the neighborhood of its maximum tells of a map: a position that no cut biases, and a mass."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from softpoint.functional.parabola import Parabola, fit_parabola, height, vertex

# A mass, of a total of 1, that has no say; its inverse squared is still far from the end of single precision.
NOTHING = 1e-12


def check_window(window: int) -> None:
    """Raises ValueError for a window that is not a positive odd number."""
    if isinstance(window, bool) or not isinstance(window, int):
        raise ValueError(f"window must be an odd number of cells, got {window}")
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window must be an odd number of cells, got {window}; try {max(window, 0) // 2 * 2 + 1}")


def peak_patch(
    maps: Float[Tensor, "*batch H W"], window: int
) -> tuple[Float[Tensor, "*batch h w"], Bool[Tensor, "*batch h w"], Int[Tensor, "*batch 2"]]:
    """The `window` x `window` cells about each maximum, which of them the map has, and the maximum's cell (x, y).

    Cells beyond the map are 0; h and w are smaller than `window` where no cell of the map is that far away.
    """
    check_window(window)
    h, w = maps.shape[-2:]
    flat = maps.flatten(-2)
    cell = flat.argmax(-1)
    rows = (cell // w)[..., None] + _offsets(min(window // 2, h - 1), maps.device)
    columns = (cell % w)[..., None] + _offsets(min(window // 2, w - 1), maps.device)
    inside = ((rows >= 0) & (rows < h))[..., :, None] & ((columns >= 0) & (columns < w))[..., None, :]
    index = rows.clamp(0, h - 1)[..., :, None] * w + columns.clamp(0, w - 1)[..., None, :]
    patch = flat.gather(-1, index.flatten(-2)).unflatten(-1, index.shape[-2:])
    return patch * inside, inside, torch.stack((cell % w, cell // w), -1)


def window_mass(maps: Float[Tensor, "*batch H W"], window: int) -> Float[Tensor, "*batch"]:
    """How much of each map lies in the window about its maximum: of a heatmap, a probability.

    >>> window_mass(torch.full((4, 4), 1 / 16), 3).item()
    0.25
    """
    return peak_patch(maps, window)[0].sum((-2, -1))


def window_expectation(maps: Float[Tensor, "*batch H W"], window: int) -> Float[Tensor, "*batch 2"]:
    """Mean (x, y), in cells, of the Gaussian on a floor of which the window about each maximum shows a part.

    Within 0.02 cells on such maps of 8 x 8 and more wherever the border or the window cuts the Gaussian, if its
    standard deviation is from 0.5 cells to almost half the window and the border leaves 3 x 3 cells of the window; as
    accurate on noise of half a nat a cell as the mean of the window's cells, which leans inwards at a border, but
    wilder than that mean where nearly all is in one cell and the rest is noise. In float32 at least.

    Row sums and column sums of the window are Gaussians too, and their logarithms parabolas, fitted by least squares
    with the masses as weights. Twice more the fit is repeated with what it taught: how much of the map's lowest
    value the Gaussian itself accounts for (the rest is floor, and taken off), and weights that are small also
    where the model is. Source: Guo, A simple algorithm for fitting a Gaussian function,
    IEEE Signal Processing Magazine 28(5), 2011, whose weights are squared masses.

    >>> maps = torch.zeros(5, 5); maps[0, 4] = 1
    >>> window_expectation(maps, 3).tolist()
    [4.0, 0.0]
    """
    view = _marginals(maps.to(torch.promote_types(maps.dtype, torch.float32)), window)
    fit, model = _fit(view, torch.zeros_like(view.lowest), None)
    once = _explained(view, fit, torch.zeros_like(view.lowest))
    fit, model = _fit(view, once, model)
    share = _limit(once, _explained(view, fit, once)).minimum(view.lowest)
    fit, _ = _fit(view, share, model)
    radius = view.cells.shape[-1] // 2
    low, high = view.first.clamp_min(-radius) - 0.5, view.last.clamp_max(radius) + 0.5
    offset = vertex(fit, reach=0.75 * view.cells.shape[-1]).clamp(low, high)
    return (offset - view.first)[..., 0]


class _Marginals(NamedTuple):
    """What the fit reads of each window: along x and y (..., 2, N), or per map (...).

    `mass` is what lies above the map's lowest value, and sums to 1 along each axis; `lowest` is that value, in
    the same unit. `terms` is how many cells were summed, `cells` their offsets from the maximum (N,), `first` and
    `last` (..., 2, 1) those of the outermost cells of the map.
    """

    mass: Tensor
    terms: Tensor
    cells: Tensor
    lowest: Tensor
    first: Tensor
    last: Tensor


def _marginals(maps: Float[Tensor, "*batch H W"], window: int) -> _Marginals:
    patch, inside, peak = peak_patch(maps, window)
    lowest = maps.amin((-2, -1))
    above = (patch - lowest[..., None, None]) * inside
    total = above.sum((-2, -1))
    total = torch.where(total > 0, total, torch.ones_like(total))
    size = torch.tensor([maps.shape[-1], maps.shape[-2]], device=maps.device)
    mass = _both_axes(above) / total[..., None, None]
    return _Marginals(
        mass=mass,
        terms=_both_axes(inside.to(maps.dtype)),
        cells=_offsets(mass.shape[-1] // 2, maps.device).to(maps.dtype),
        lowest=lowest / total,
        first=-peak[..., None].to(maps.dtype),
        last=(size - 1 - peak)[..., None].to(maps.dtype),
    )


def _fit(view: _Marginals, share: Tensor, model: Tensor | None) -> tuple[Parabola, Tensor]:
    """The parabolas of both axes (..., 2, 1) and the masses that they say, where `share` (...) per cell is no floor."""
    mass = (view.mass + view.terms * share[..., None, None]) / _total(view, share)[..., None, None]
    # Cells far above the model belong to something else, and of cells far below it the logarithm is wild.
    weight = mass if model is None else mass * model / (mass + model).clamp_min(NOTHING)
    fit = fit_parabola(weight, mass.clamp_min(NOTHING).log(), view.cells)
    return fit, height(fit, view.cells).clamp_max(0).exp() * (view.terms > 0)


def _explained(view: _Marginals, fit: Parabola, share: Tensor) -> Tensor:
    """What the fitted Gaussian is in the corner of the map where it is lowest, at most the map's lowest value."""
    ends = torch.minimum(height(fit, view.first), height(fit, view.last)).sum((-2, -1))
    return (_total(view, share) * ends.clamp_max(0).exp()).minimum(view.lowest)


def _total(view: _Marginals, share: Tensor) -> Tensor:
    return 1 + view.terms[..., 0, :].sum(-1) * share


def _limit(once: Tensor, twice: Tensor) -> Tensor:
    """Where the series 0, once, twice, ... ends if its steps shrink by one ratio (Aitken's extrapolation)."""
    step = twice - once
    ratio = (step * once / (once * once).clamp_min(1e-12)).clamp(0.0, 0.9)
    return (twice + step * ratio / (1 - ratio)).clamp_min(0)


def _both_axes(patch: Float[Tensor, "*batch h w"]) -> Float[Tensor, "*batch 2 N"]:
    """Sums over rows and over columns, the shorter of the two with zeros on either side."""
    x, y = patch.sum(-2), patch.sum(-1)
    spare = (y.shape[-1] - x.shape[-1]) // 2
    if spare:
        x, y = F.pad(x, 2 * [max(spare, 0)]), F.pad(y, 2 * [max(-spare, 0)])
    return torch.stack((x, y), -2)


def _offsets(radius: int, device: torch.device) -> Int[Tensor, " N"]:
    return torch.arange(-radius, radius + 1, device=device)
