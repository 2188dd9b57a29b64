"""Losses of logit maps against target distributions.

`heatmap_ce`, `heatmap_kl` and `heatmap_js` also take a target as the pair of its distributions along y (..., H) and x
(..., W), whose maps are never made then; `map_statistics` gives them together with the soft-argmax, of one pass.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from softpoint.functional.map_statistics import MapTarget, map_statistics
from softpoint.functional.spatial import (
    Dims,
    as_floating,
    axis_positions,
    rows_and_columns_last,
    spatial_covariance,
    spatial_expectation,
    widen,
)


def heatmap_ce(logits: Float[Tensor, "..."], target: MapTarget, dim: Dims = (-2, -1)) -> Float[Tensor, "..."]:
    """Cross-entropy -sum target log p of the softmax p of `logits` against `target`, in nats.

    >>> heatmap_ce(torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [0.0, 0.0]])).item()
    1.3862...
    """
    loss: Tensor = _read(logits, target, dim).cross_entropy
    return loss


def heatmap_kl(logits: Float[Tensor, "..."], target: MapTarget, dim: Dims = (-2, -1)) -> Float[Tensor, "..."]:
    """KL(target || softmax of logits) in nats: cross-entropy less the target's entropy, 0 where both are equal.

    >>> heatmap_kl(torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [0.0, 0.0]])).item(), math.log(4)
    (1.386..., 1.386...)
    """
    loss: Tensor = _read(logits, target, dim, divergence=True).divergence
    return loss


def heatmap_js(logits: Float[Tensor, "..."], target: MapTarget, dim: Dims = (-2, -1)) -> Float[Tensor, "..."]:
    """Jensen-Shannon divergence between the softmax of `logits` and `target` in nats: symmetric, at most log 2.

    >>> heatmap_js(torch.tensor([[99.0, 0.0]]), torch.tensor([[0.0, 1.0]])).item()
    0.6931...
    """
    loss: Tensor = _read(logits, target, dim, jensen_shannon=True).jensen_shannon
    return loss


def heatmap_mse(
    logits: Float[Tensor, "..."], target: Float[Tensor, "..."], dim: Dims = (-2, -1), total: bool = True
) -> Float[Tensor, "..."]:
    """Squared difference of the softmax of `logits` and `target`, summed over the cells.

    The sum is the same on maps of any size; the mean, by `total=False`, of the same blob is a quarter on a map of twice
    the sides.

    >>> heatmap_mse(torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [0.0, 0.0]])).item()
    0.75
    """
    squared = (_log_softmax(logits, dim).exp() - _flat(target, dim)).square()
    return squared.sum(-1) if total else squared.mean(-1)


def heatmap_awing(
    logits: Float[Tensor, "..."],
    target: Float[Tensor, "..."],
    dim: Dims = (-2, -1),
    total: bool = True,
    width: float = 14.0,
    threshold: float = 0.5,
    curvature: float = 1.0,
    power: float = 2.1,
    foreground: float = 10.0,
) -> Float[Tensor, "..."]:
    """Adaptive wing loss between the softmax of `logits` and `target`, summed over the cells, or their mean.

    The paper regresses a map whose peak is 1; here both distributions are divided by the target's maximum, so that the
    loss is 0 where the softmax is the target. (Sigmoids of the logits start faster, but the softmax of the fitted
    logits is then nearly one cell.) The loss of a difference d is width log(1 + |d / curvature|^(power - target)) below
    `threshold`, and a line that continues it above. Cells where the target is at least 0.2 of its maximum, and their
    neighbors, weigh 1 + `foreground`. Source: Wang et al., Adaptive Wing Loss for Robust Face Alignment via Heatmap
    Regression, arXiv:1904.07399, with width omega, threshold theta, curvature epsilon, power alpha and foreground W.

    >>> heatmap_awing(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), foreground=0.0).item()
    8.2...
    """
    maps, target = rows_and_columns_last(logits, dim), widen(rows_and_columns_last(target, dim))
    peak = target.amax((-2, -1), keepdim=True).clamp_min(torch.finfo(target.dtype).tiny)
    share = _log_softmax(maps, (-2, -1)).exp().unflatten(-1, maps.shape[-2:]) / peak
    # The maximum of each cell and its eight neighbors.
    dilated = F.max_pool2d((target / peak).reshape(-1, 1, *maps.shape[-2:]), 3, stride=1, padding=1).view(maps.shape)
    weight = 1 + foreground * (dilated >= 0.2)
    distance, exponent = (share - target / peak).abs(), power - target / peak
    at_threshold = (threshold / curvature) ** exponent
    slope = width * exponent * at_threshold / ((1 + at_threshold) * threshold)
    constant = threshold * slope - width * torch.log1p(at_threshold)
    near = width * torch.log1p((distance / curvature) ** exponent)
    losses = weight * torch.where(distance < threshold, near, slope * distance - constant)
    return losses.sum((-2, -1)) if total else losses.mean((-2, -1))


def heatmap_margin(
    logits: Float[Tensor, "..."], target: Float[Tensor, "..."], dim: Dims = (-2, -1), margin: float = 3.0
) -> Float[Tensor, "..."]:
    """Soft margin in nats: the cross-entropy after each cell gains `margin` times its distance from the target's mean.

    The distance is a fraction of the map's diagonal, so that a cell far off must be lower by up to `margin` nats; with
    a margin of 0 this is `heatmap_ce`. The target's entropy is the minimum. Source: the structured objective of Yang
    and Yeh, Heatmap Regression without Soft-Argmax for Facial Landmark Detection, arXiv:2508.14929, here with a
    distribution as the target.

    >>> heatmap_margin(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), margin=0.5).item()  # log(1 + exp(0.5))
    0.9740...
    """
    target = widen(rows_and_columns_last(target, dim))
    rows, columns = (axis_positions(length, False, target) for length in target.shape[-2:])
    mean = spatial_expectation(target)
    x, y = columns - mean[..., :1], rows - mean[..., 1:]
    distance = (y.square()[..., :, None] + x.square()[..., None, :]).sqrt()
    diagonal = max(1.0, math.hypot(target.shape[-2] - 1, target.shape[-1] - 1))
    maps = widen(as_floating(rows_and_columns_last(logits, dim)))
    return heatmap_ce(maps + margin / diagonal * distance, target)


def heatmap_transport(
    logits: Float[Tensor, "..."], target: Float[Tensor, "..."], dim: Dims = (-2, -1)
) -> Float[Tensor, "..."]:
    """Cells that the probability of the softmax has to move to become the target, along x and along y, summed.

    The transport distance of two distributions on a line is the area between their cumulated sums: linear in how far
    off a peak is, where cross-entropy only knows that it is off. Source: the 1-D Wasserstein distance, as in Rubner et
    al., The Earth Mover's Distance as a Metric for Image Retrieval, IJCV 2000.

    >>> heatmap_transport(torch.tensor([[0.0, -99, -99, -99]]), torch.tensor([[0.0, 0.0, 0.5, 0.5]])).item()
    2.5
    """
    maps = rows_and_columns_last(logits, dim)
    p = _log_softmax(maps, (-2, -1)).exp().unflatten(-1, maps.shape[-2:])
    difference = p - widen(rows_and_columns_last(target, dim))
    return sum((difference.sum(axis).cumsum(-1).abs().sum(-1) for axis in (-1, -2)), torch.zeros_like(p[..., 0, 0]))


def variance(logits: Float[Tensor, "..."], std: float, dim: Dims = (-2, -1)) -> Float[Tensor, "..."]:
    """Squared difference of the softmax's x and y variances from `std` squared, in cells^4.

    The value of a flat 64 x 64 map is about 2 x 340^2, so the weight must be small. Source: the variance regularizer of
    Nibali et al., arXiv:1801.07372.

    >>> variance(torch.tensor([[0.0, 0.0]]), 0.5).item()
    0.0625
    """
    heatmap = _log_softmax(logits, dim).exp().unflatten(-1, rows_and_columns_last(logits, dim).shape[-2:])
    covariance = spatial_covariance(heatmap)
    return (covariance.diagonal(dim1=-2, dim2=-1) - std**2).square().sum(-1)


def axis_ce(logits: Float[Tensor, "... n"], target: Float[Tensor, "... n"]) -> Float[Tensor, "..."]:
    """Cross-entropy of the softmax along the last axis against `target`: a 1-D `heatmap_ce`.

    In nats. Its minimum is the target's entropy, about log(4.13 std) for a Gaussian of `std` bins.

    >>> axis_ce(torch.zeros(4), torch.tensor([0.0, 0.5, 0.5, 0.0])).item()
    1.3862...
    """
    return -(widen(target) * widen(as_floating(logits)).log_softmax(-1)).sum(-1)


# The losses that take a target as its distributions along y and x.
TAKE_AXES: tuple[Any, ...] = (heatmap_ce, heatmap_kl, heatmap_js)


def _read(logits: Tensor, target: MapTarget, dim: Dims, **asked: bool) -> Any:
    if isinstance(target, Tensor):
        target = rows_and_columns_last(target, dim)
    return map_statistics(rows_and_columns_last(logits, dim), target, **asked, moments=0)


def _flat(maps: Tensor, dim: Dims) -> Tensor:
    return widen(rows_and_columns_last(maps, dim)).flatten(-2)


def _log_softmax(logits: Tensor, dim: Dims) -> Tensor:
    return _flat(as_floating(logits), dim).log_softmax(-1)
