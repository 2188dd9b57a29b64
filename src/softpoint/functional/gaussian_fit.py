"""A Gaussian on a floor, fitted to the window about a map's maximum: a position that no border biases."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from softpoint.functional.map_statistics import MapStatistics, is_fused
from softpoint.functional.parabola import Parabola, fit_parabola, height, vertex
from softpoint.functional.spatial import spatial_softmax
from softpoint.kernels.windows import read_windows

# A negligible mass, of a total of 1, whose inverse square is still within single precision.
NEGLIGIBLE = 1e-12


def check_window(window: int) -> None:
    """Raise ValueError for a window that is not a positive odd number."""
    if isinstance(window, bool) or not isinstance(window, int):
        raise ValueError(f"window must be an odd number of cells, got {window}")
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window must be an odd number of cells, got {window}; try {max(window, 0) // 2 * 2 + 1}")


def peak_patch(
    maps: Float[Tensor, "*batch H W"], window: int
) -> tuple[Float[Tensor, "*batch h w"], Bool[Tensor, "*batch h w"], Int[Tensor, "*batch 2"]]:
    """The `window` x `window` cells about each maximum, which of them are on the map, and the maximum's cell (x, y).

    Cells beyond the map are 0; h and w are less than `window` where the map is smaller than that.
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
    """Mass of each map (..., H, W) within the window about its maximum: for a heatmap, a probability.

    >>> window_mass(torch.full((4, 4), 1 / 16), 3).item()
    0.25
    """
    return peak_patch(maps.to(torch.promote_types(maps.dtype, torch.float32)), window)[0].sum((-2, -1))


def window_expectation(maps: Float[Tensor, "*batch H W"], window: int) -> Float[Tensor, "*batch 2"]:
    """Mean (x, y), in cells, of a Gaussian on a floor fitted to the window about each maximum.

    On such maps of at least 8 x 8 cells the error is below 0.02 cells wherever the border or the window cuts the
    Gaussian, if its standard deviation is between 0.5 cells and almost half the window, and 3 x 3 cells of the window
    are inside the border. With noise of half a nat per cell it is as accurate as the mean of the window's cells, which
    is biased inwards at a border; it varies more than that mean where nearly all mass is in one cell and the rest is
    noise. Computed in float32 at least.

    Row sums and column sums of the window are Gaussians too, and their logarithms are parabolas, fitted by least
    squares with the masses as weights. The fit is repeated twice, each time with the part of the map's lowest value
    that the last Gaussian accounts for (the rest is a floor, and subtracted), and with weights that are small also
    where that Gaussian is. Source: Guo, A simple algorithm for fitting a Gaussian function, IEEE Signal Processing
    Magazine 28(5), 2011, whose weights are squared masses.

    >>> maps = torch.zeros(5, 5); maps[0, 4] = 1
    >>> window_expectation(maps, 3).tolist()
    [4.0, 0.0]
    """
    return read_window(maps, window)[0]


def read_window(
    maps: Float[Tensor, "*batch H W"], window: int, statistics: MapStatistics | None = None
) -> tuple[Float[Tensor, "*batch 2"], Float[Tensor, "*batch"]]:
    """`window_expectation` and `window_mass` of heatmaps; with `statistics`, of the softmax of the logits `maps`.

    Of logits, only the window is read, and no heatmap is made.

    >>> from softpoint.functional import map_statistics
    >>> logits = torch.zeros(1, 7); logits[0, 2] = 99
    >>> [part.tolist() for part in read_window(logits, 3, map_statistics(logits))]
    [[2.0, 0.0], 1.0]
    """
    check_window(window)
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
    saved = None if statistics is None else statistics.saved
    if statistics is not None and statistics.log_total.shape != maps.shape[:-2]:
        raise ValueError(f"statistics of {tuple(statistics.log_total.shape)} maps do not fit maps {tuple(maps.shape)}")
    plain = torch.compiler.is_compiling() or not is_fused(maps) or (statistics is not None and saved is None)
    if plain or not maps.numel():
        return _in_pytorch(maps, window, of_logits=statistics is not None)
    read: tuple[Tensor, Tensor] = _ReadWindow.apply(maps.contiguous(), window, saved)
    return read


class _ReadWindow(torch.autograd.Function):
    """The loop forward; backward, which few need, PyTorch's gradient of the same mathematics."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, window: int, saved: Tensor | None) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(maps)
        ctx.window, ctx.of_logits = window, saved is not None
        return read_windows(maps, window, saved)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (maps,) = ctx.saved_tensors
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            read = _in_pytorch(maps, ctx.window, ctx.of_logits)
            (gradient,) = torch.autograd.grad(read, maps, gradients, create_graph=create_graph)
        return gradient, None, None


def _in_pytorch(
    maps: Float[Tensor, "*batch H W"], window: int, of_logits: bool
) -> tuple[Float[Tensor, "*batch 2"], Float[Tensor, "*batch"]]:
    """Position and mass, each written as it is defined."""
    if of_logits:
        maps = spatial_softmax(maps)
    view = _marginals(maps, window)
    fit, model = _fit(view, torch.zeros_like(view.lowest), None)
    once = _lowest_of_fit(view, fit, torch.zeros_like(view.lowest))
    fit, model = _fit(view, once, model)
    # The limit of the series 0, once, twice, ... if its steps shrink by a constant ratio (Aitken's extrapolation).
    twice = _lowest_of_fit(view, fit, once)
    ratio = ((twice - once) * once / (once * once).clamp_min(NEGLIGIBLE)).clamp(0.0, 0.9)
    share = (twice + (twice - once) * ratio / (1 - ratio)).clamp_min(0).minimum(view.lowest)
    fit, _ = _fit(view, share, model)
    radius = view.cells.shape[-1] // 2
    low, high = view.first.clamp_min(-radius) - 0.5, view.last.clamp_max(radius) + 0.5
    offset = vertex(fit, reach=0.75 * view.cells.shape[-1]).clamp(low, high)
    return (offset - view.first)[..., 0], peak_patch(maps, window)[0].sum((-2, -1))


class _Marginals(NamedTuple):
    """Sums of each window along x and y (..., 2, N), and values per map (...).

    `mass` is the mass above the map's lowest value, with a sum of 1 along each axis; `lowest` is that value in the same
    unit. `terms` is the number of cells in each sum, `cells` (N,) are their offsets from the maximum, `first` and
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
    """The parabolas of both axes (..., 2, 1) and their masses, where `share` (...) of the lowest value is no floor."""
    mass = (view.mass + view.terms * share[..., None, None]) / _total(view, share)[..., None, None]
    # Cells far above the model belong to another peak, and the logarithm of cells far below it is noise.
    weight = mass if model is None else mass * model / (mass + model).clamp_min(NEGLIGIBLE)
    fit = fit_parabola(weight, mass.clamp_min(NEGLIGIBLE).log(), view.cells)
    return fit, height(fit, view.cells).clamp_max(0).exp() * (view.terms > 0)


def _lowest_of_fit(view: _Marginals, fit: Parabola, share: Tensor) -> Tensor:
    """Value of the fitted Gaussian in the corner of the map where it is lowest, at most the map's lowest value."""
    ends = torch.minimum(height(fit, view.first), height(fit, view.last)).sum((-2, -1))
    return (_total(view, share) * ends.clamp_max(0).exp()).minimum(view.lowest)


def _total(view: _Marginals, share: Tensor) -> Tensor:
    return 1 + view.terms[..., 0, :].sum(-1) * share


def _both_axes(patch: Float[Tensor, "*batch h w"]) -> Float[Tensor, "*batch 2 N"]:
    """Sums over rows and over columns, the shorter of the two padded with zeros on either side."""
    x, y = patch.sum(-2), patch.sum(-1)
    spare = (y.shape[-1] - x.shape[-1]) // 2
    if spare:
        x, y = F.pad(x, 2 * [max(spare, 0)]), F.pad(y, 2 * [max(-spare, 0)])
    return torch.stack((x, y), -2)


def _offsets(radius: int, device: torch.device) -> Int[Tensor, " N"]:
    return torch.arange(-radius, radius + 1, device=device)
