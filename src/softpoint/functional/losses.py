"""Losses per keypoint, and the one masked mean that reduces them.

Heatmap losses compare logits with a target distribution over the same cells and return one number per
map, in nats. Cross-entropy and KL differ by the entropy of the target: the same gradient, another floor.
KL is the one to log, because 0 is perfect. Coordinate losses take (x, y) and return one number per point.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torch.nn import functional as F

from softpoint.functional.spatial import Dims, as_floating, rows_and_columns_last, spatial_covariance, widen


def heatmap_ce(
    logits: Float[Tensor, "..."], target: Float[Tensor, "..."], dim: Dims = (-2, -1)
) -> Float[Tensor, "..."]:
    """Cross-entropy of the softmax of `logits` against `target`: -sum target log p.

    >>> heatmap_ce(torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [0.0, 0.0]])).item()
    1.3862...
    """
    log_p, target = _log_softmax(logits, dim), _flat(target, dim)
    return -(target * log_p).sum(-1)


def heatmap_kl(
    logits: Float[Tensor, "..."], target: Float[Tensor, "..."], dim: Dims = (-2, -1)
) -> Float[Tensor, "..."]:
    """KL(target || softmax of logits): cross-entropy less the target's entropy, 0 when they agree.

    >>> heatmap_kl(torch.zeros(2, 2), torch.full((2, 2), 0.25)).item()
    0.0
    """
    log_p, target = _log_softmax(logits, dim), _flat(target, dim)
    return (torch.xlogy(target, target) - target * log_p).sum(-1)


def heatmap_js(
    logits: Float[Tensor, "..."], target: Float[Tensor, "..."], dim: Dims = (-2, -1)
) -> Float[Tensor, "..."]:
    """Jensen-Shannon divergence between the softmax of `logits` and `target`: symmetric, at most log 2.

    >>> heatmap_js(torch.tensor([[99.0, 0.0]]), torch.tensor([[0.0, 1.0]])).item()
    0.6931...
    """
    log_p, target = _log_softmax(logits, dim), _flat(target, dim)
    p = log_p.exp()
    # log((p + t) / 2) without the logarithm of a zero: t may be 0, and p is never.
    log_m = torch.logaddexp(log_p, target.log()) - math.log(2)
    return 0.5 * (p * (log_p - log_m) + torch.xlogy(target, target) - target * log_m).sum(-1)


def heatmap_mse(
    logits: Float[Tensor, "..."], target: Float[Tensor, "..."], dim: Dims = (-2, -1)
) -> Float[Tensor, "..."]:
    """Squared difference of the softmax of `logits` and `target`, mean over the cells.

    >>> heatmap_mse(torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [0.0, 0.0]])).item()
    0.1875
    """
    return (_log_softmax(logits, dim).exp() - _flat(target, dim)).square().mean(-1)


def variance(logits: Float[Tensor, "..."], std: float, dim: Dims = (-2, -1)) -> Float[Tensor, "..."]:
    """Squared distance of the softmax's x and y variances from `std` squared, in cells^4.

    Source: the variance regulariser of Nibali et al., arXiv:1801.07372. A flat 64 x 64 map scores about
    2 x 340^2, so it wants a small weight.

    >>> variance(torch.tensor([[0.0, 0.0]]), 0.5).item()
    0.0625
    """
    heatmap = _log_softmax(logits, dim).exp().unflatten(-1, rows_and_columns_last(logits, dim).shape[-2:])
    covariance = spatial_covariance(heatmap)
    return (covariance.diagonal(dim1=-2, dim2=-1) - std**2).square().sum(-1)


def coordinate_l1(prediction: Float[Tensor, "... 2"], target: Float[Tensor, "... 2"]) -> Float[Tensor, "..."]:
    """|dx| + |dy| per point.

    >>> coordinate_l1(torch.tensor([3.0, 4.0]), torch.zeros(2)).item()
    7.0
    """
    return (prediction - target).abs().sum(-1)


def coordinate_l2(prediction: Float[Tensor, "... 2"], target: Float[Tensor, "... 2"]) -> Float[Tensor, "..."]:
    """Euclidean distance per point, with gradient 0 where it is 0.

    >>> coordinate_l2(torch.tensor([3.0, 4.0]), torch.zeros(2)).item()
    5.0
    """
    return torch.linalg.vector_norm(prediction - target, dim=-1)


def coordinate_huber(
    prediction: Float[Tensor, "... 2"], target: Float[Tensor, "... 2"], delta: float = 1.0
) -> Float[Tensor, "..."]:
    """Huber's loss summed over x and y: quadratic up to `delta`, linear with slope `delta` beyond.

    >>> coordinate_huber(torch.tensor([0.5, 3.0]), torch.zeros(2)).item()
    2.625
    """
    return F.huber_loss(prediction, target, reduction="none", delta=delta).sum(-1)


def coordinate_wing(
    prediction: Float[Tensor, "... 2"],
    target: Float[Tensor, "... 2"],
    width: float = 10.0,
    curvature: float = 2.0,
) -> Float[Tensor, "..."]:
    """Wing loss summed over x and y: width log(1 + |d| / curvature) below `width`, |d| less a constant above.

    Source: Feng et al., Wing Loss for Robust Facial Landmark Localisation, arXiv:1711.06753.

    >>> coordinate_wing(torch.tensor([2.0, 0.0]), torch.zeros(2)).item()
    6.9314...
    """
    distance = (prediction - target).abs()
    constant = width - width * math.log1p(width / curvature)
    near = width * torch.log1p(distance / curvature)
    return torch.where(distance < width, near, distance - constant).sum(-1)


def visibility_ce(logits: Float[Tensor, "... 3"], target: Integer[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Cross-entropy in nats of (absent, occluded, visible) against 0, 1 or 2; 0, with zero gradient, at -1.

    >>> visibility_ce(torch.tensor([[0.0, 0.0, 0.0], [9.0, float("nan"), 0.0]]), torch.tensor([2, -1])).tolist()
    [1.0986..., 0.0]
    """
    known = target >= 0
    # Zeros take the place of what is not known: the gradient of a NaN would be NaN even times 0.
    log_p = widen(torch.where(known[..., None], logits, 0)).log_softmax(-1)
    loss = -log_p.gather(-1, target.long().clamp_min(0)[..., None])[..., 0]
    return torch.where(known, loss, 0)


def masked_mean(
    losses: Float[Tensor, "..."], mask: Bool[Tensor, "..."], count: Float[Tensor, ""] | None = None
) -> Float[Tensor, ""]:
    """Mean of the losses where `mask` is true; 0, with zero gradient, where it nowhere is.

    `count` replaces the number of true entries as the divisor.

    >>> masked_mean(torch.tensor([1.0, 3.0, float("nan")]), torch.tensor([True, True, False])).item()
    2.0
    """
    count = mask.sum() if count is None else count
    return torch.where(mask, losses, 0).sum() / torch.where(count > 0, count, 1)


def spatial_softmax_with_loss(
    logits: Float[Tensor, "N C H W"],
    target: Integer[Tensor, "N H W"] | Float[Tensor, "N C H W"],
    weight: Float[Tensor, "N H W"] | Float[Tensor, " C"] | None = None,
    scale: float = 1.0,
    ignore_label: int = -1,
) -> tuple[Float[Tensor, "N C H W"], Float[Tensor, ""]]:
    """Softmax over CHANNELS at each pixel, and its loss against labels or distributions.

    Integer labels (N, H, W): the mean of -log p[label] over the pixels that do not carry `ignore_label`,
    weighted per pixel (N, H, W) or per class (C,); 0 when every pixel is ignored. A distribution
    (N, C, H, W): -1/N sum t log p, weighted likewise. `scale` multiplies the loss. Raises ValueError for a
    target or a weight of another shape. Source: Caffe2's SpatialSoftmaxWithLoss operator.

    >>> p, loss = spatial_softmax_with_loss(torch.zeros(1, 2, 1, 2), torch.tensor([[[0, -1]]]))
    >>> p[0, 0, 0].tolist(), loss.item()
    ([0.5, 0.5], 0.6931...)
    """
    log_p = widen(as_floating(logits)).log_softmax(1)
    per_pixel, per_class = (logits.shape[0], *logits.shape[2:]), tuple(logits.shape[1:2])
    if weight is not None and weight.shape != (per_class if weight.ndim == 1 else per_pixel):
        raise ValueError(
            f"a weight of shape {tuple(weight.shape)} fits no logits of shape {tuple(logits.shape)}; "
            f"give one per pixel {per_pixel} or one per class {per_class}"
        )
    if target.shape == logits.shape and target.is_floating_point():
        loss = _distribution_loss(log_p, widen(target), weight)
    elif target.shape == per_pixel and not target.is_floating_point():
        loss = _label_loss(log_p, target.long(), weight, ignore_label)
    else:
        raise ValueError(
            f"a {target.dtype} target of shape {tuple(target.shape)} fits no logits of shape {tuple(logits.shape)}; "
            "give integer labels (N, H, W) or a floating distribution (N, C, H, W)"
        )
    return log_p.exp().to(logits.dtype), scale * loss


def _label_loss(log_p: Tensor, label: Tensor, weight: Tensor | None, ignore_label: int) -> Tensor:
    kept = label != ignore_label
    known = torch.where(kept, label, 0)
    if weight is None:
        weight = torch.ones_like(log_p[:, 0])
    elif weight.ndim == 1:
        weight = weight[known]
    weight = torch.where(kept, weight, 0)
    loss = -log_p.gather(1, known[:, None])[:, 0]
    total = weight.sum()
    return (weight * loss).sum() / torch.where(total > 0, total, 1)


def _distribution_loss(log_p: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    if weight is not None:
        target = target * (weight[:, None, None] if weight.ndim == 1 else weight[:, None])
    return -(target * log_p).sum() / log_p.shape[0]


def _flat(maps: Tensor, dim: Dims) -> Tensor:
    return widen(rows_and_columns_last(maps, dim)).flatten(-2)


def _log_softmax(logits: Tensor, dim: Dims) -> Tensor:
    return _flat(as_floating(logits), dim).log_softmax(-1)
