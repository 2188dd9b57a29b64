"""Probability maps over pixels, their moments and their entropy.

Every function takes maps in any layout: `dim` names the row and the column axis, so (H, W), (B, K, H, W),
(H, W, C) with `dim=(0, 1)` and (N, H, W, C) with `dim=(1, 2)` all work. Coordinates are (x, y), counted in
cells from the center of the first one. Arithmetic on half precision runs in float32.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

Dims = tuple[int, int]


def spatial_softmax(
    logits: Float[Tensor, "..."] | Tensor, temperature: float | Tensor = 1.0, dim: Dims = (-2, -1)
) -> Float[Tensor, "..."]:
    """Softmax over both spatial axes: a distribution over pixels, in the shape and dtype of `logits`.

    `temperature` DIVIDES the logits: below 1 is sharper, above 1 softer. It may be a tensor that broadcasts against the
    logits, such as (K, 1, 1) for one temperature per keypoint. Raises ValueError for a temperature that is not positive
    or a map without two axes.
    Source: Levine et al., End-to-End Training of Deep Visuomotor Policies, arXiv:1504.00702.

    >>> spatial_softmax(torch.tensor([[0.0, 0, 0], [0, 0, 0], [0, 1, 2]]))
    tensor([[0.0585, 0.0585, 0.0585],
            [0.0585, 0.0585, 0.0585],
            [0.0585, 0.1589, 0.4319]])
    """
    check_temperature(temperature)
    logits = as_floating(logits)
    scaled = widen(logits) / temperature
    maps = rows_and_columns_last(scaled, dim)
    heatmap: Tensor = maps.flatten(-2).softmax(-1).unflatten(-1, maps.shape[-2:])
    return heatmap.movedim((-2, -1), dim).to(logits.dtype)


def axis_softmax(logits: Float[Tensor, "..."] | Tensor, dim: int) -> Float[Tensor, "..."]:
    """Softmax along one axis, rows or columns; two of them make a SimCC head (Li et al., arXiv:2107.03332).

    >>> axis_softmax(torch.tensor([[0.0, 0.0], [0.0, 0.0]]), dim=-1).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    logits = as_floating(logits)
    return widen(logits).softmax(dim).to(logits.dtype)


def spatial_expectation(
    heatmap: Float[Tensor, "..."],
    coordinates: Float[Tensor, "H W 2"] | None = None,
    normalized: bool = False,
    dim: Dims = (-2, -1),
) -> Float[Tensor, "... 2"]:
    """Mean position (x, y) under each heatmap, in cells; the spatial axes are replaced by one last axis of 2.

    `normalized=True` measures in [-1, 1] from the first cell center to the last. `coordinates` (H, W, 2) gives another
    position for each cell. The heatmap is not normalized: its sum should be 1.
    Source: Nibali et al., Numerical Coordinate Regression with CNNs, arXiv:1801.07372.

    >>> heatmap = torch.zeros(4, 5); heatmap[1, 3] = 1
    >>> spatial_expectation(heatmap).tolist(), spatial_expectation(heatmap, normalized=True)[0].item()
    ([3.0, 1.0], 0.5)
    """
    maps = widen(rows_and_columns_last(as_floating(heatmap), dim))
    if coordinates is not None:
        if coordinates.shape != (*maps.shape[-2:], 2):
            raise ValueError(
                f"coordinates of shape {tuple(coordinates.shape)} do not fit maps of shape "
                f"{tuple(maps.shape[-2:])}; give one (x, y) per cell: {(*maps.shape[-2:], 2)}"
            )
        # Autocast would run an einsum in half precision, which loses whole pixels above 256.
        return (maps[..., None] * coordinates.to(maps.dtype)).sum((-3, -2))
    height, width = maps.shape[-2:]
    x = (maps.sum(-2) * axis_positions(width, normalized, maps)).sum(-1)
    y = (maps.sum(-1) * axis_positions(height, normalized, maps)).sum(-1)
    return torch.stack((x, y), -1)


def spatial_covariance(
    heatmap: Float[Tensor, "..."], dim: Dims = (-2, -1), normalized: bool = False
) -> Float[Tensor, "... 2 2"]:
    """Second central moments [[xx, xy], [xy, yy]] of each heatmap, in cells squared.

    `normalized=True` measures in [-1, 1], as `spatial_expectation` does.

    >>> spatial_covariance(torch.tensor([[0.5, 0.0, 0.5]])).tolist()
    [[1.0, 0.0], [0.0, 0.0]]
    """
    maps = widen(rows_and_columns_last(as_floating(heatmap), dim))
    mean = spatial_expectation(maps, normalized=normalized)
    height, width = maps.shape[-2:]
    dx = axis_positions(width, normalized, maps) - mean[..., :1]
    dy = axis_positions(height, normalized, maps) - mean[..., 1:]
    xx = (maps.sum(-2) * dx * dx).sum(-1)
    yy = (maps.sum(-1) * dy * dy).sum(-1)
    xy = ((maps * dx[..., None, :]).sum(-1) * dy).sum(-1)
    return torch.stack((torch.stack((xx, xy), -1), torch.stack((xy, yy), -1)), -2)


def entropy(heatmap: Float[Tensor, "..."], dim: Dims = (-2, -1)) -> Float[Tensor, "..."]:
    """Shannon entropy of each heatmap in bits, with 0 log 0 = 0: 0 for one certain cell, log2(H W) for a flat map.

    >>> entropy(torch.full((4, 4), 1 / 16)).item()
    4.0
    """
    maps = widen(rows_and_columns_last(as_floating(heatmap), dim))
    # Clamping the logarithm's argument alone keeps the value exact and the gradient finite at p = 0.
    smallest = torch.finfo(maps.dtype).tiny
    return -(maps * maps.clamp_min(smallest).log2()).sum((-2, -1))


def information_content(p: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Self-information of an event of probability `p`, in bits.

    >>> information_content(torch.tensor([1.0, 0.25])).tolist()
    [-0.0, 2.0]
    """
    return -widen(as_floating(p)).log2()


def check_temperature(temperature: float | Tensor) -> None:
    """Raise ValueError for a temperature that is not positive; a tensor is read on a CPU only."""
    if isinstance(temperature, Tensor):
        # Reading a device tensor would wait for the device, and a traced one has no values.
        plain = type(temperature) in (Tensor, torch.nn.Parameter) and temperature.device.type == "cpu"
        if torch.compiler.is_compiling() or not plain:
            return
        temperature = temperature.min().item()
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")


def as_floating(values: Tensor) -> Tensor:
    """Return integers in the default float type, and floats unchanged."""
    return values if values.is_floating_point() else values.to(torch.get_default_dtype())


def widen(values: Tensor) -> Tensor:
    """Return half precision as float32, in which sums over a map and positions above 256 are exact enough."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def rows_and_columns_last(maps: Tensor, dim: Dims) -> Tensor:
    """Return a view with the row and column axes at the end; ValueError for maps with fewer than two axes."""
    if maps.ndim < 2:
        raise ValueError(f"a map needs a row and a column axis, got shape {tuple(maps.shape)}")
    return maps if tuple(dim) == (-2, -1) else maps.movedim(dim, (-2, -1))


def product_of_axes(along_y: Tensor, along_x: Tensor) -> Tensor:
    """Maps (..., H, W) that are the product of a distribution along y (..., H) and one along x (..., W)."""
    return along_y[..., :, None] * along_x[..., None, :]


def axis_positions(length: int, normalized: bool, like: Tensor) -> Tensor:
    """Cell centers along one axis (length,): 0, 1, ... or, normalized, -1 to 1."""
    cells = torch.arange(length, device=like.device, dtype=like.dtype)
    return cells / max(length - 1, 1) * 2 - (1 if length > 1 else 0) if normalized else cells
