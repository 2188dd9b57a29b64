"""Classification losses: of each pixel, and of the state of a keypoint."""

from __future__ import annotations

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from softpoint.functional.spatial import as_floating, widen


def spatial_softmax_with_loss(
    logits: Float[Tensor, "N C H W"],
    target: Integer[Tensor, "N H W"] | Float[Tensor, "N C H W"],
    weight: Float[Tensor, "N H W"] | Float[Tensor, " C"] | None = None,
    scale: float = 1.0,
    ignore_label: int = -1,
) -> tuple[Float[Tensor, "N C H W"], Float[Tensor, ""]]:
    """Softmax over CHANNELS at each pixel, and its cross-entropy in nats against labels or distributions.

    Integer labels (N, H, W): the mean of -log p[label] over the pixels without `ignore_label`, weighted per pixel
    (N, H, W) or per class (C,); 0 where every pixel is ignored. A distribution t (N, C, H, W): -1/N sum t log p,
    weighted likewise; 0 without samples. `scale` multiplies the loss. Raises ValueError for a target or a weight of
    another shape. Source: Caffe2's SpatialSoftmaxWithLoss operator.

    >>> p, loss = spatial_softmax_with_loss(torch.zeros(1, 2, 1, 2), torch.tensor([[[0, -1]]]))
    >>> p[0, 0, 0].tolist(), loss.item()
    ([0.5, 0.5], 0.6931...)
    """
    log_p = widen(as_floating(logits)).log_softmax(1)
    per_pixel, per_class = (logits.shape[0], *logits.shape[2:]), tuple(logits.shape[1:2])
    if weight is not None and weight.shape != (per_class if weight.ndim == 1 else per_pixel):
        raise ValueError(
            f"a weight of shape {tuple(weight.shape)} does not fit logits of shape {tuple(logits.shape)}; "
            f"give one per pixel {per_pixel} or one per class {per_class}"
        )
    weight = None if weight is None else widen(weight)
    if target.shape == logits.shape and target.is_floating_point():
        if weight is not None:
            target = widen(target) * (weight[:, None, None] if weight.ndim == 1 else weight[:, None])
        loss = -(widen(target) * log_p).sum() / max(log_p.shape[0], 1)
    elif target.shape == per_pixel and not target.is_floating_point():
        loss = _label_loss(log_p, target.long(), weight, ignore_label)
    else:
        raise ValueError(
            f"a {target.dtype} target of shape {tuple(target.shape)} does not fit logits of shape "
            f"{tuple(logits.shape)}; give integer labels (N, H, W) or a floating distribution (N, C, H, W)"
        )
    return log_p.exp().to(logits.dtype), scale * loss


def _label_loss(log_p: Tensor, label: Tensor, weight: Tensor | None, ignore_label: int) -> Tensor:
    kept = label != ignore_label
    index = torch.where(kept, label, 0)
    if weight is None:
        weight = torch.ones_like(log_p[:, 0])
    elif weight.ndim == 1:
        weight = weight[index]
    weight = torch.where(kept, weight, 0)
    loss = -log_p.gather(1, index[:, None])[:, 0]
    total = weight.sum()
    return (weight * loss).sum() / torch.where(total > 0, total, 1)


def visibility_ce(logits: Float[Tensor, "... 3"], target: Integer[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Cross-entropy in nats of (absent, occluded, visible) against 0, 1 or 2; 0, with zero gradient, at -1.

    >>> visibility_ce(torch.tensor([[0.0, 0.0, 0.0], [9.0, float("nan"), 0.0]]), torch.tensor([2, -1])).tolist()
    [1.0986..., 0.0]
    """
    known = target >= 0
    # Zeros replace unknown values, because the gradient of a NaN would be NaN even times 0.
    log_p = widen(torch.where(known[..., None], logits, 0)).log_softmax(-1)
    loss = -log_p.gather(-1, target.long().clamp_min(0)[..., None])[..., 0]
    return torch.where(known, loss, 0)
