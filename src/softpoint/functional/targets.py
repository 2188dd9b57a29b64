"""Target distributions about keypoints, each the product of one along x and one along y."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from softpoint.functional.gaussian import gaussian_axis, render_gaussians
from softpoint.functional.spatial import as_floating, axis_positions, widen

TARGETS = ("gaussian", "nearest", "bilinear")


def render_target(
    mean: Float[Tensor, "... 2"], size: tuple[int, int], kind: str = "gaussian", std: float = 1.0
) -> Float[Tensor, "... H W"]:
    """A distribution about each mean (x, y), in cells, on a grid of `size` (H, W).

    `kind` is "gaussian", of `std` cells (`render_gaussians`); "nearest", the one cell that holds the mean; or
    "bilinear", the four about it, weighted so that their expectation is the mean. All sum to 1. The latter two
    take a mean beyond the outer cell centers for the nearest point between them. Raises ValueError for another kind.

    >>> render_target(torch.tensor([1.25, 0.0]), (2, 3), "bilinear").tolist()
    [[0.0, 0.75, 0.25], [0.0, 0.0, 0.0]]
    """
    if kind == "gaussian":
        return render_gaussians(mean, std, size)
    x, y = axis_target(mean[..., 0], size[1], kind), axis_target(mean[..., 1], size[0], kind)
    return y[..., :, None] * x[..., None, :]


def axis_target(
    mean: Float[Tensor, "..."], length: int, kind: str = "gaussian", std: float = 1.0
) -> Float[Tensor, "... n"]:
    """The distribution of `render_target` along one axis of `length` cells.

    >>> axis_target(torch.tensor(1.75), 4, "nearest").tolist(), axis_target(torch.tensor(9.0), 4, "bilinear").tolist()
    ([0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0])
    """
    if kind == "gaussian":
        return gaussian_axis(mean, std, length)
    if kind not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, got {kind!r}")
    mean = widen(as_floating(mean))[..., None].clamp(0, length - 1)
    cells = axis_positions(length, False, mean)
    if kind == "bilinear":
        return (1 - (cells - mean).abs()).clamp_min(0)
    return (cells == (mean + 0.5).floor().clamp_max(length - 1)).to(mean.dtype)


def disc_classes(
    mean: Float[Tensor, "B K 2"], mask: Bool[Tensor, "B K"], size: tuple[int, int], radius: float, ring: float = 0.0
) -> tuple[Float[Tensor, "B K+1 H W"], Bool[Tensor, "B H W"]]:
    """What class each cell is of, as a distribution, and which cells have one.

    A cell whose center lies within `radius - 1/2` cells of a keypoint, and the cell nearest to it in any case, is the
    keypoint's; over one more cell its share falls to 0, as if a disc covered cells in part, so that the mean of a
    disc is its keypoint. A cell that several keypoints claim is shared by them, and what none claims is of the
    background, the last class. Cells up to `ring` beyond a disc have no class. A keypoint where `mask` is false has
    no disc. Raises ValueError for a radius that is not positive or a negative ring.

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
    disc = torch.maximum((-beyond).clamp(0, 1), render_target(mean, size, "nearest")) * mask[..., None, None]
    claimed = disc.sum(1, keepdim=True)
    classes = torch.cat((disc / claimed.clamp_min(1), 1 - claimed.clamp_max(1)), 1)
    near = ((beyond < ring) & mask[..., None, None]).any(1)
    return classes, (claimed[:, 0] > 0) | ~near
