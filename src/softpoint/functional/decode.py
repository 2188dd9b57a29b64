"""Methods that read a position from a heatmap: `decode_heatmap` chooses one by name.

`taylor_peak` (DARK) is one Newton step from the largest cell; the fit of a Gaussian to a window is in `gaussian_fit`.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from softpoint.functional.gaussian_fit import check_window, window_expectation
from softpoint.functional.spatial import as_floating, spatial_expectation, widen


def decode_heatmap(
    heatmap: Float[Tensor, "*batch H W"], method: str = "window", window: int = 9
) -> Float[Tensor, "*batch 2"]:
    """Position (x, y) of the keypoint in each heatmap, in cells, computed in float32 at least.

    Methods: "window", a Gaussian fitted to `window` x `window` cells about the maximum (`window_expectation`);
    "expectation", the mean of the whole map, whose sum must be 1; "argmax", the largest cell; "dark", one Newton step
    from there on the map's logarithm (`taylor_peak`); "debiased", the mean of the whole map above its floor
    (`debiased_expectation`). All but "argmax" have a gradient. Raises ValueError for another
    method and for a window that is not odd.

    >>> import torch; heatmap = torch.tensor([1.0, 2, 1]).outer(torch.tensor([1.0, 3, 3, 1])) / 32
    >>> [decode_heatmap(heatmap, method)[0].item() for method in ("window", "expectation", "argmax", "dark")]
    [1.5, 1.5, 1.0, 1.5]
    """
    check_window(window)
    if method not in DECODERS:
        near = get_close_matches(str(method), DECODERS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(DECODERS)}"
        raise ValueError(f"no method {method!r} to decode a heatmap; {hint}")
    return DECODERS[method](widen(as_floating(heatmap)), window)


def argmax_cell(maps: Float[Tensor, "*batch H W"]) -> Float[Tensor, "*batch 2"]:
    """Cell (x, y) of each maximum; of several equal ones, the first by rows.

    >>> argmax_cell(torch.eye(3).flip(0)).tolist()
    [2.0, 0.0]
    """
    width = maps.shape[-1]
    cell = maps.flatten(-2).argmax(-1)
    return torch.stack((cell % width, cell // width), -1).to(maps.dtype)


def debiased_expectation(maps: Float[Tensor, "*batch H W"]) -> Float[Tensor, "*batch 2"]:
    """Mean (x, y) of each map above its floor, whose share pulls a plain expectation to the middle.

    In cells. The floor is the median cell, which neither a peak nor noise moves far; a flat map has no peak above it,
    and keeps its plain mean. The result stays on the map. Source: Gu et al., Bias-Compensated Integral Regression for
    Human Pose Estimation, arXiv:2301.10431, whose floor is the softmax of a logit of 0.

    >>> debiased_expectation(torch.tensor([[0.7, 0.1, 0.1, 0.1]])).tolist()
    [0.0, 0.0]
    """
    cells = maps.shape[-2] * maps.shape[-1]
    last = maps.new_tensor([maps.shape[-1] - 1, maps.shape[-2] - 1])
    plain, total = spatial_expectation(maps), maps.sum((-2, -1))[..., None]
    floor = cells * maps.flatten(-2).sort(-1).values[..., (cells - 1) // 2][..., None]
    has_peak = total - floor > 1e-4 * total
    peak = (plain - floor * last / 2) / torch.where(has_peak, total - floor, 1)
    return torch.where(has_peak, torch.minimum(peak.clamp_min(0), last), plain)


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
    height, width = maps.shape[-2:]
    peak = argmax_cell(maps)
    near, center = _neighbors(maps, peak)
    last = peak.new_tensor([width - 1, height - 1])
    lowest = _lowest_beyond(maps, center)
    fit = _expansion(near, lowest, height, width)
    floor = lowest - _min_in_rectangle(fit, -center, last - center).minimum(_log(lowest)).exp().minimum(lowest)
    fit = _expansion(near, floor, height, width)
    determinant = fit.xx * fit.yy - fit.xy * fit.xy
    concave = (fit.xx < 0) & (fit.yy < 0) & (determinant > 1e-3 * fit.xx * fit.yy)
    step = torch.stack((fit.xy * fit.dy - fit.yy * fit.dx, fit.xy * fit.dx - fit.xx * fit.dy), -1)
    step = step / torch.where(concave, determinant, 1)[..., None]
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


def _min_in_rectangle(
    fit: _Expansion, first: Float[Tensor, "*batch 2"], last: Float[Tensor, "*batch 2"]
) -> Float[Tensor, "*batch"]:
    """The lowest value at the corners of a rectangle, whose first and last corner are offsets from the center."""
    x, y = (torch.stack((first[..., i], last[..., i]), -1) for i in (0, 1))
    z, dx, dy, xx, xy, yy = (value[..., None] for value in fit)
    along = (dx * x + xx * x * x / 2)[..., None] + (dy * y + yy * y * y / 2)[..., None, :]
    return (z[..., None] + along + xy[..., None] * x[..., None] * y[..., None, :]).amin((-2, -1))


def _expansion(
    near: Float[Tensor, "*batch 3 3"], floor: Float[Tensor, "*batch"], height: int, width: int
) -> _Expansion:
    """Expansion of the logarithm of 3 x 3 cells above a floor, in a map of this size, which may be narrower."""
    # No less than the rounding error of a cell.
    z = _log(torch.maximum(near - floor[..., None, None], torch.finfo(near.dtype).eps * near))
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


DECODERS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "window": window_expectation,
    "expectation": lambda maps, window: spatial_expectation(maps),
    "argmax": lambda maps, window: argmax_cell(maps),
    "dark": lambda maps, window: taylor_peak(maps),
    "debiased": lambda maps, window: debiased_expectation(maps),
}
