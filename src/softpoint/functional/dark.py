"""The maximum of a map: its cell, and the position between cells after one Newton step (DARK)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def argmax_cell(maps: Float[Tensor, "*batch H W"]) -> Float[Tensor, "*batch 2"]:
    """Cell (x, y) of each maximum; of several equal ones, the first by rows.

    >>> argmax_cell(torch.eye(3).flip(0)).tolist()
    [2.0, 0.0]
    """
    width = maps.shape[-1]
    cell = maps.flatten(-2).argmax(-1)
    return torch.stack((cell % width, cell // width), -1).to(maps.dtype)


def taylor_peak(maps: Float[Tensor, "*batch H W"]) -> Float[Tensor, "*batch 2"]:
    """Maximum (x, y) of the second-order Taylor expansion of each map's logarithm about its largest cell.

    In cells. The map is not blurred before, and a floor under the peak is subtracted: the excess of the lowest cell
    over a Gaussian there. Exact for a Gaussian, alone or on a floor, whose 3 x 3 cells at the maximum are inside the
    map, if the map is large enough for it to fade. At a border the expansion is about the next cell inside. Where there
    is no maximum, as in a flat map, the largest cell is returned; a step is at most one cell, and stays on the map.
    Source: Zhang et al., Distribution-Aware Coordinate Representation for Human Pose Estimation, arXiv:1910.06278,
    which does not subtract a floor.

    >>> taylor_peak(torch.tensor([[1.0, 3, 3]]) * torch.tensor([[1.0], [2], [1]])).tolist()
    [1.5, 1.0]
    """
    peak = argmax_cell(maps)
    near, center = _neighbors(maps, peak)
    last = peak.new_tensor([maps.shape[-1], maps.shape[-2]]) - 1
    lowest = _lowest_beyond(maps, center)
    fit = _expansion(near, lowest, maps.shape)
    floor = lowest - _min_in_rectangle(fit, -center, last - center).minimum(_log(lowest)).exp().minimum(lowest)
    step, concave = _newton_step(_expansion(near, floor, maps.shape))
    position = peak + (center - peak + step).clamp(-1.0, 1.0)
    return torch.where(concave[..., None], torch.minimum(position.clamp_min(-0.5), last + 0.5), peak)


def _neighbors(
    maps: Float[Tensor, "*batch H W"], peak: Float[Tensor, "*batch 2"]
) -> tuple[Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 2"]]:
    """The 3 x 3 cells about the cell nearest to the peak that is not at the border, and that cell."""
    size = peak.new_tensor([maps.shape[-1], maps.shape[-2]])
    center = torch.where(size > 2, torch.minimum(peak.clamp_min(1), size - 2), peak)
    around = torch.arange(-1, 2, device=maps.device)
    column = (center[..., :1].long() + around).clamp(0, maps.shape[-1] - 1)
    row = (center[..., 1:].long() + around).clamp(0, maps.shape[-2] - 1)
    index = row[..., :, None] * maps.shape[-1] + column[..., None, :]
    return maps.flatten(-2).gather(-1, index.flatten(-2)).unflatten(-1, (3, 3)), center


def _lowest_beyond(maps: Float[Tensor, "*batch H W"], center: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
    """The lowest value outside the 3 x 3 cells about the center; 0 where there are no others."""
    columns, rows = (torch.arange(n, device=maps.device) for n in (maps.shape[-1], maps.shape[-2]))
    right, down = (columns - center[..., :1]).abs() > 1, (rows - center[..., 1:]).abs() > 1
    lowest = torch.where(down[..., :, None] | right[..., None, :], maps, torch.inf).amin((-2, -1))
    return torch.where(lowest < torch.inf, lowest, 0)


class _Expansion(NamedTuple):
    """Value and derivatives of a logarithm at the center of 3 x 3 cells."""

    z: Tensor
    dx: Tensor
    dy: Tensor
    xx: Tensor
    xy: Tensor
    yy: Tensor


def _newton_step(fit: _Expansion) -> tuple[Float[Tensor, "*batch 2"], Bool[Tensor, "*batch"]]:
    """Offset of the maximum from the center, and whether there is one."""
    determinant = fit.xx * fit.yy - fit.xy * fit.xy
    concave = (fit.xx < 0) & (fit.yy < 0) & (determinant > 1e-3 * fit.xx * fit.yy)
    safe = torch.where(concave, determinant, torch.ones_like(determinant))
    x, y = fit.xy * fit.dy - fit.yy * fit.dx, fit.xy * fit.dx - fit.xx * fit.dy
    return torch.stack((x, y), -1) / safe[..., None], concave


def _min_in_rectangle(
    fit: _Expansion, first: Float[Tensor, "*batch 2"], last: Float[Tensor, "*batch 2"]
) -> Float[Tensor, "*batch"]:
    """The lowest value at the corners of a rectangle, whose first and last corner are offsets from the center."""
    x, y = (torch.stack((first[..., i], last[..., i]), -1) for i in (0, 1))
    z, dx, dy, xx, xy, yy = (value[..., None] for value in fit)
    along = (dx * x + xx * x * x / 2)[..., None] + (dy * y + yy * y * y / 2)[..., None, :]
    return (z[..., None] + along + xy[..., None] * x[..., None] * y[..., None, :]).amin((-2, -1))


def _expansion(near: Float[Tensor, "*batch 3 3"], floor: Float[Tensor, "*batch"], shape: Sequence[int]) -> _Expansion:
    """Expansion of the logarithm of 3 x 3 cells above a floor, in a map of this shape, which may be narrower."""
    # No less than the rounding error of a cell.
    z = _log(torch.maximum(near - floor[..., None, None], torch.finfo(near.dtype).eps * near))
    height, width = shape[-2:]
    dx, xx = _differences(z[..., 1, :], width)
    dy, yy = _differences(z[..., :, 1], height)
    xy = (z[..., 2, 2] - z[..., 2, 0] - z[..., 0, 2] + z[..., 0, 0]) / 4 * (min(height, width) > 2)
    return _Expansion(z[..., 1, 1], dx, dy, xx, xy, yy)


def _differences(
    line: Float[Tensor, "*batch 3"], length: int
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """First and second derivative at the second of three values; those of a maximum on an axis of fewer cells."""
    before, middle, after = line.unbind(-1)
    if length < 3:
        return torch.zeros_like(middle), -torch.ones_like(middle)
    return (after - before) / 2, after - 2 * middle + before


def _log(values: Tensor) -> Tensor:
    return values.clamp_min(torch.finfo(values.dtype).tiny).log()
