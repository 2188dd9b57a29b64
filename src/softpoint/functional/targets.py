"""Target distributions about keypoints, and target classes of pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from softpoint.functional.gaussian import gaussian_axis
from softpoint.functional.spatial import as_floating, axis_positions, product_of_axes, widen

AxisTarget = Callable[[Tensor, float, int], Tensor]
"""A function (mean (...), std, length) -> (..., length): one distribution per mean along an axis of cells."""


def nearest_axis(mean: Float[Tensor, "..."], std: float, length: int) -> Float[Tensor, "... n"]:
    """One-hot distribution at the cell nearest to each mean, on an axis of `length` cells; `std` is ignored.

    >>> nearest_axis(torch.tensor(1.75), 1.0, 4).tolist()
    [0.0, 0.0, 1.0, 0.0]
    """
    mean = _on_axis(mean, length)
    nearest = (mean + 0.5).floor().clamp_max(length - 1)
    return (axis_positions(length, False, mean) == nearest).to(mean.dtype)


def bilinear_axis(mean: Float[Tensor, "..."], std: float, length: int) -> Float[Tensor, "... n"]:
    """The two cells about each mean, weighted so that their expectation is the mean; `std` is ignored.

    A mean beyond the outer cell centers counts as the nearest of them.

    >>> bilinear_axis(torch.tensor(1.75), 1.0, 4).tolist(), bilinear_axis(torch.tensor(9.0), 1.0, 4).tolist()
    ([0.0, 0.25, 0.75, 0.0], [0.0, 0.0, 0.0, 1.0])
    """
    mean = _on_axis(mean, length)
    return (1 - (axis_positions(length, False, mean) - mean).abs()).clamp_min(0)


TARGETS: dict[str, AxisTarget] = {"gaussian": gaussian_axis, "nearest": nearest_axis, "bilinear": bilinear_axis}


def render_target(
    mean: Float[Tensor, "... 2"], std: float, size: tuple[int, int], axis: AxisTarget = gaussian_axis
) -> Float[Tensor, "... H W"]:
    """Product of the distributions `axis` along x and y about each mean (x, y), on a grid of `size` (H, W).

    Mean and std are in cells; each map sums to 1.

    >>> render_target(torch.tensor([1.25, 0.0]), 1.0, (2, 3), bilinear_axis).tolist()
    [[0.0, 0.75, 0.25], [0.0, 0.0, 0.0]]
    """
    x, y = axis(mean[..., 0], std, size[1]), axis(mean[..., 1], std, size[0])
    return product_of_axes(y, x)


def disc_classes(
    mean: Float[Tensor, "B K 2"], mask: Bool[Tensor, "B K"], size: tuple[int, int], radius: float, ring: float = 0.0
) -> tuple[Float[Tensor, "B K+1 H W"], Bool[Tensor, "B H W"]]:
    """Distribution over K keypoints and background (last) for each cell, and the cells that have one.

    A cell belongs to a keypoint if its center is within `radius - 1/2` cells of it, or if it is the nearest cell. Over
    one more cell the share falls to 0, like the covered area of cells at the edge of a disc, so that the mean of a disc
    is its keypoint. Cells claimed by several keypoints are shared, and the rest is background. Cells up to `ring`
    beyond a disc have no class. A keypoint where `mask` is false has no disc.
    Raises ValueError for a radius that is not positive or a negative ring.

    >>> classes, kept = disc_classes(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[True]]), (1, 5), 0.75, ring=1.0)
    >>> classes.tolist(), kept.tolist()
    ([[[[0.25, 1.0, 0.25, 0.0, 0.0]], [[0.75, 0.0, 0.75, 1.0, 1.0]]]], [[[True, True, True, False, True]]])
    """
    if not radius > 0 or not ring >= 0:
        raise ValueError(f"a disc needs a positive radius and a ring of at least 0, got {radius} and {ring}")
    mean = torch.where(mask[..., None], widen(mean), 0)
    x = (axis_positions(size[1], False, mean) - mean[..., :1]).square()
    y = (axis_positions(size[0], False, mean) - mean[..., 1:]).square()
    beyond = (y[..., :, None] + x[..., None, :]).sqrt() - (radius + 0.5)
    disc = torch.maximum((-beyond).clamp(0, 1), render_target(mean, 1.0, size, nearest_axis)) * mask[..., None, None]
    claimed = disc.sum(1, keepdim=True)
    classes = torch.cat((disc / claimed.clamp_min(1), 1 - claimed.clamp_max(1)), 1)
    near = ((beyond < ring) & mask[..., None, None]).any(1)
    return classes, (claimed[:, 0] > 0) | ~near


def _on_axis(mean: Tensor, length: int) -> Tensor:
    return widen(as_floating(mean))[..., None].clamp(0, length - 1)
