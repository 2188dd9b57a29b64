"""Gaussians on a grid and along an axis."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from softpoint.functional.spatial import as_floating, axis_positions, widen


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
    _check_std(std)
    dtype = as_floating(mean).dtype
    mean = widen(as_floating(mean))
    std = torch.as_tensor(std, device=mean.device, dtype=mean.dtype).expand_as(mean)
    height, width = size
    # An axis-aligned Gaussian is the product of two 1-D ones, each normalized without overflow by a softmax.
    x = _axis(mean[..., 0], std[..., 0], width, normalized)
    y = _axis(mean[..., 1], std[..., 1], height, normalized)
    return (y[..., :, None] * x[..., None, :]).to(dtype)


def gaussian_axis(mean: Float[Tensor, "..."], std: float | Float[Tensor, "..."], length: int) -> Float[Tensor, "... n"]:
    """One Gaussian per mean on an axis of `length` cells, scaled to a sum of 1, with mean and std in cells.

    The product of one along x and one along y is `render_gaussians`.

    Raises ValueError for a number `std` that is not positive.

    >>> gaussian_axis(torch.tensor(1.0), 2.0, 3)
    tensor([0.3192, 0.3617, 0.3192])
    """
    _check_std(std)
    dtype = as_floating(mean).dtype
    mean = widen(as_floating(mean))
    return _axis(mean, torch.as_tensor(std, device=mean.device, dtype=mean.dtype), length, False).to(dtype)


def _axis(mean: Tensor, std: Tensor, length: int, normalized: bool) -> Tensor:
    cells = axis_positions(length, normalized, mean)
    return (-0.5 * ((cells - mean[..., None]) / std[..., None]) ** 2).softmax(-1)


def _check_std(std: float | Tensor) -> None:
    if not isinstance(std, Tensor) and not std > 0:
        raise ValueError(f"std must be positive, got {std}")
