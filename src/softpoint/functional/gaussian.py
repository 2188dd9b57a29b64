"""Gaussians on a grid and along an axis."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from softpoint.functional.spatial import as_floating, axis_positions, product_of_axes, widen
from softpoint.kernels.gaussians import render_axis
from softpoint.kernels.library import runs_here


def render_gaussians(
    mean: Float[Tensor, "... 2"] | Tensor,
    std: float | Float[Tensor, "..."],
    size: tuple[int, int],
    normalized: bool = False,
) -> Float[Tensor, "... H W"]:
    """One Gaussian exp(-d^2 / (2 std^2)) per mean (x, y), on a grid of `size` (H, W), scaled to a sum of 1.

    Mean and std are in cells, or with `normalized=True` in [-1, 1] from the first cell center to the last. A tensor
    `std` broadcasts against `mean`: (..., 1) for circles, (..., 2) for one std along x and one along y. A mean off the
    grid gives the part that is on it, rescaled. Raises ValueError for a number `std` that is not positive.

    >>> render_gaussians(torch.tensor([1.0, 0.0]), 2.0, (1, 3))
    tensor([[0.3192, 0.3617, 0.3192]])
    """
    dtype = as_floating(mean).dtype
    mean = widen(as_floating(mean))
    std_x, std_y = std.expand_as(mean).unbind(-1) if isinstance(std, Tensor) else (std, std)
    # An axis-aligned Gaussian is the product of two 1-D ones.
    x = gaussian_axis(mean[..., 0], std_x, size[1], normalized)
    y = gaussian_axis(mean[..., 1], std_y, size[0], normalized)
    return product_of_axes(y, x).to(dtype)


def gaussian_axis(
    mean: Float[Tensor, "..."], std: float | Float[Tensor, "..."], length: int, normalized: bool = False
) -> Float[Tensor, "... n"]:
    """One Gaussian per mean on an axis of `length` cells, scaled to a sum of 1: `render_gaussians` along x or y.

    >>> gaussian_axis(torch.tensor(1.0), 2.0, 3)
    tensor([0.3192, 0.3617, 0.3192])
    """
    if not isinstance(std, Tensor) and not std > 0:
        raise ValueError(f"std must be positive, got {std}")
    dtype = as_floating(mean).dtype
    mean = widen(as_floating(mean))
    if not isinstance(std, Tensor) and not normalized and not mean.requires_grad and runs_here(mean):
        return render_axis(mean.contiguous(), std, length).to(dtype)
    mean = mean[..., None]
    std = std.to(mean)[..., None] if isinstance(std, Tensor) else std  # a number would be copied to the device
    cells = axis_positions(length, normalized, mean)
    # A softmax normalizes without overflow, however far a mean is.
    return torch.softmax(-0.5 * ((cells - mean) / std) ** 2, -1).to(dtype)
