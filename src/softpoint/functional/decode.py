"""Ways to read a position from a heatmap."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches

import torch
from jaxtyping import Float
from torch import Tensor

from softpoint.functional.spatial import as_floating, spatial_expectation, widen
from softpoint.functional.window import check_window, window_expectation


def decode_heatmap(
    heatmap: Float[Tensor, "*batch H W"], method: str = "window", window: int = 9
) -> Float[Tensor, "*batch 2"]:
    """Position (x, y) that each heatmap says, in cells, computed in float32 at least.

    Methods: "window", a Gaussian fitted to `window` x `window` cells about the maximum (`window_expectation`);
    "expectation", the mean of the whole map, whose sum should be 1; "argmax", the largest cell; "dark", one Newton
    step of the map's logarithm from there (`taylor_peak`). All but "argmax" have a gradient. Raises ValueError for
    another method and for a window that is not odd.

    >>> heatmap = torch.tensor([1.0, 2, 1]).outer(torch.tensor([1.0, 3, 3, 1])) / 32
    >>> [decode_heatmap(heatmap, method)[0].item() for method in ("window", "expectation", "argmax", "dark")]
    [1.5, 1.5, 1.0, 1.5]
    """
    check_window(window)
    if method not in DECODERS:
        near = get_close_matches(str(method), DECODERS, n=1, cutoff=0.5)
        way_out = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(DECODERS)}"
        raise ValueError(f"there is no way called {method!r} to decode a heatmap; {way_out}")
    return DECODERS[method](widen(as_floating(heatmap)), window)


def argmax_cell(maps: Float[Tensor, "*batch H W"]) -> Float[Tensor, "*batch 2"]:
    """Cell (x, y) of each maximum, the first in reading order of several.

    >>> argmax_cell(torch.eye(3).flip(0)).tolist()
    [2.0, 0.0]
    """
    width = maps.shape[-1]
    cell = maps.flatten(-2).argmax(-1)
    return torch.stack((cell % width, cell // width), -1).to(maps.dtype)


def taylor_peak(maps: Float[Tensor, "*batch H W"]) -> Float[Tensor, "*batch 2"]:
    """Maximum (x, y) of the second-order Taylor expansion of each map's logarithm about its largest cell.

    Exact for any Gaussian of which 3 x 3 cells at the maximum are seen; nothing is blurred before. At a border the
    expansion is about the next cell inside. Where there is no maximum, as in a flat map, the largest cell is the
    answer, and a step is at most one cell. Source: Zhang et al., Distribution-Aware Coordinate Representation for
    Human Pose Estimation, arXiv:1910.06278.

    >>> taylor_peak(torch.tensor([[1.0, 3, 3]]) * torch.tensor([[1.0], [2], [1]])).tolist()
    [1.5, 1.0]
    """
    peak = argmax_cell(maps)
    near, centre = _log_neighbours(maps, peak)
    height, width = maps.shape[-2:]
    dx, xx = _differences(near[..., 1, :], width)
    dy, yy = _differences(near[..., :, 1], height)
    xy = (near[..., 2, 2] - near[..., 2, 0] - near[..., 0, 2] + near[..., 0, 0]) / 4 * (min(height, width) > 2)
    determinant = xx * yy - xy * xy
    concave = (xx < 0) & (yy < 0) & (determinant > 1e-3 * xx * yy)
    safe = torch.where(concave, determinant, torch.ones_like(determinant))
    step = torch.stack((xy * dy - yy * dx, xy * dx - xx * dy), -1) / safe[..., None]
    offset = (centre - peak + step).clamp(-1.0, 1.0)
    return peak + torch.where(concave[..., None], offset, torch.zeros_like(offset))


def _log_neighbours(
    maps: Float[Tensor, "*batch H W"], peak: Float[Tensor, "*batch 2"]
) -> tuple[Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 2"]]:
    """Logarithms of the 3 x 3 cells about the cell nearest to the peak that is not on the border, and that cell."""
    size = peak.new_tensor([maps.shape[-1], maps.shape[-2]])
    centre = torch.where(size > 2, torch.minimum(peak.clamp_min(1), size - 2), peak)
    around = torch.arange(-1, 2, device=maps.device)
    column = (centre[..., :1].long() + around).clamp(0, maps.shape[-1] - 1)
    row = (centre[..., 1:].long() + around).clamp(0, maps.shape[-2] - 1)
    index = row[..., :, None] * maps.shape[-1] + column[..., None, :]
    near = maps.flatten(-2).gather(-1, index.flatten(-2)).unflatten(-1, (3, 3))
    return near.clamp_min(torch.finfo(maps.dtype).tiny).log(), centre


def _differences(
    line: Float[Tensor, "*batch 3"], length: int
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """First and second derivative in the middle of three values, or those of a maximum on an axis without three."""
    before, here, after = line.unbind(-1)
    if length < 3:
        return torch.zeros_like(here), -torch.ones_like(here)
    return (after - before) / 2, after - 2 * here + before


DECODERS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "window": window_expectation,
    "expectation": lambda maps, window: spatial_expectation(maps),
    "argmax": lambda maps, window: argmax_cell(maps),
    "dark": lambda maps, window: taylor_peak(maps),
}
