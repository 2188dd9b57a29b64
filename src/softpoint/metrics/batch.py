"""Keypoint errors of one batch, point by point and as one number.

Points are in ORIGINAL pixels. A point whose mask is False never enters, whatever its coordinates hold (NaN
included). The mean over no labeled point is NaN: nothing was measured, and 0 would read as perfect.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def point_errors(
    prediction: Float[Tensor, "B K 2"], target: Float[Tensor, "B K 2"], mask: Bool[Tensor, "B K"]
) -> Float[Tensor, "B K"]:
    """Euclidean distance of each prediction from its target, in pixels; 0 where the mask is False.

    >>> labeled, unlabeled = [3.0, 4.0], [float("nan"), float("nan")]
    >>> target = torch.tensor([[labeled, unlabeled]])
    >>> point_errors(torch.zeros(1, 2, 2), target, torch.tensor([[True, False]])).tolist()
    [[5.0, 0.0]]
    """
    offset = torch.where(mask[..., None], prediction - target, 0.0)
    return torch.linalg.vector_norm(offset, dim=-1)


def point_hits(
    prediction: Float[Tensor, "B K 2"],
    target: Float[Tensor, "B K 2"],
    mask: Bool[Tensor, "B K"],
    scale: Float[Tensor, " B"],
    alpha: float,
) -> Bool[Tensor, "B K"]:
    """Whether each labeled point is predicted within `alpha * scale` pixels, the limit included.

    >>> target = torch.tensor([[[3.0, 4.0], [30.0, 40.0]]])
    >>> mask, scale = torch.ones(1, 2, dtype=torch.bool), torch.tensor([50.0])
    >>> point_hits(torch.zeros(1, 2, 2), target, mask, scale, alpha=0.1).tolist()
    [[True, False]]
    """
    return mask & (point_errors(prediction, target, mask) <= alpha * scale[:, None])


def relative_errors(
    prediction: Float[Tensor, "B K 2"],
    target: Float[Tensor, "B K 2"],
    mask: Bool[Tensor, "B K"],
    scale: Float[Tensor, " B"],
) -> Float[Tensor, "B K"]:
    """Euclidean distances as fractions of each sample's scale; 0 where the mask is False.

    >>> target, mask = torch.tensor([[[3.0, 4.0]]]), torch.ones(1, 1, dtype=torch.bool)
    >>> relative_errors(torch.zeros(1, 1, 2), target, mask, torch.tensor([10.0])).tolist()
    [[0.5]]
    """
    # A sample without labels may come without a scale, so the quotient needs the mask as well.
    return torch.where(mask, point_errors(prediction, target, mask) / scale[:, None], 0.0)


def epe(
    prediction: Float[Tensor, "B K 2"], target: Float[Tensor, "B K 2"], mask: Bool[Tensor, "B K"]
) -> Float[Tensor, ""]:
    """Mean Euclidean error over the labeled points, in pixels; NaN when no point is labeled.

    >>> epe(torch.zeros(1, 1, 2), torch.tensor([[[3.0, 4.0]]]), torch.tensor([[True]])).item()
    5.0
    """
    return point_errors(prediction, target, mask).sum() / mask.sum()


def pck(
    prediction: Float[Tensor, "B K 2"],
    target: Float[Tensor, "B K 2"],
    mask: Bool[Tensor, "B K"],
    scale: Float[Tensor, " B"],
    alpha: float,
) -> Float[Tensor, ""]:
    """Fraction of the labeled points predicted within `alpha * scale` pixels; NaN when none is labeled.

    Raises ValueError for a scale that is not positive and finite on a sample with labeled points.
    (Yang and Ramanan, Articulated Human Detection with Flexible Mixtures of Parts, 2013.)

    >>> target = torch.tensor([[[3.0, 4.0], [30.0, 40.0]]])
    >>> mask, scale = torch.ones(1, 2, dtype=torch.bool), torch.tensor([50.0])
    >>> pck(torch.zeros(1, 2, 2), target, mask, scale, alpha=0.1).item()
    0.5
    """
    check_labeled_scales(scale, mask)
    return point_hits(prediction, target, mask, scale, alpha).sum() / mask.sum()


def nme(
    prediction: Float[Tensor, "B K 2"],
    target: Float[Tensor, "B K 2"],
    mask: Bool[Tensor, "B K"],
    scale: Float[Tensor, " B"],
) -> Float[Tensor, ""]:
    """Mean of error / scale over the labeled points, a fraction; NaN when no point is labeled.

    Raises ValueError for a scale that is not positive and finite on a sample with labeled points.
    (Sagonas et al., 300 Faces in-the-Wild Challenge, 2013.)

    >>> target, mask = torch.tensor([[[3.0, 4.0]]]), torch.ones(1, 1, dtype=torch.bool)
    >>> nme(torch.zeros(1, 1, 2), target, mask, torch.tensor([10.0])).item()
    0.5
    """
    check_labeled_scales(scale, mask)
    return relative_errors(prediction, target, mask, scale).sum() / mask.sum()


def check_labeled_scales(scale: Float[Tensor, " B"], mask: Bool[Tensor, "B K"]) -> None:
    """Raise ValueError for the first scale that a sample with labeled points cannot be measured by.

    >>> check_labeled_scales(torch.tensor([50.0, 0.0]), torch.tensor([[True], [False]]))
    """
    for value in scale[mask.any(dim=1)].tolist():
        check_scale(value)


def check_scale(scale: float) -> None:
    """Raise ValueError unless `scale` is a length in pixels that an error can be divided by.

    >>> check_scale(0.0)
    Traceback (most recent call last):
    ValueError: scale must be a positive, finite length in pixels, got 0.0 on a sample with labeled points;
    give that sample a scale or mask its points
    """
    if not 0 < scale < math.inf:
        raise ValueError(
            f"scale must be a positive, finite length in pixels, got {scale} on a sample with labeled "
            "points; give that sample a scale or mask its points"
        )
