"""Losses of positions (x, y), in the unit of both arguments."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from softpoint.functional.spatial import widen


def coordinate_l1(prediction: Float[Tensor, "... 2"], target: Float[Tensor, "... 2"]) -> Float[Tensor, "..."]:
    """Absolute error |dx| + |dy| per point.

    >>> coordinate_l1(torch.tensor([3.0, 4.0]), torch.zeros(2)).item()
    7.0
    """
    return _difference(prediction, target).abs().sum(-1)


def coordinate_l2(prediction: Float[Tensor, "... 2"], target: Float[Tensor, "... 2"]) -> Float[Tensor, "..."]:
    """Euclidean distance per point, with gradient 0 where it is 0.

    >>> coordinate_l2(torch.tensor([3.0, 4.0]), torch.zeros(2)).item()
    5.0
    """
    distance: Tensor = torch.linalg.vector_norm(_difference(prediction, target), dim=-1)
    return distance


def coordinate_huber(
    prediction: Float[Tensor, "... 2"], target: Float[Tensor, "... 2"], delta: float = 1.0
) -> Float[Tensor, "..."]:
    """Huber's loss summed over x and y: quadratic up to `delta`, linear with slope `delta` beyond.

    >>> coordinate_huber(torch.tensor([0.5, 3.0]), torch.zeros(2)).item()
    2.625
    """
    return F.huber_loss(widen(prediction), widen(target), reduction="none", delta=delta).sum(-1)


def coordinate_wing(
    prediction: Float[Tensor, "... 2"], target: Float[Tensor, "... 2"], width: float = 10.0, curvature: float = 2.0
) -> Float[Tensor, "..."]:
    """Wing loss summed over x and y: width log(1 + |d| / curvature) below `width`, |d| less a constant above.

    Source: Feng et al., Wing Loss for Robust Facial Landmark Localization, arXiv:1711.06753.

    >>> coordinate_wing(torch.tensor([2.0, 0.0]), torch.zeros(2)).item()
    6.9314...
    """
    distance = _difference(prediction, target).abs()
    constant = width - width * math.log1p(width / curvature)
    near = width * torch.log1p(distance / curvature)
    return torch.where(distance < width, near, distance - constant).sum(-1)


def coordinate_nll(
    prediction: Float[Tensor, "... 2"],
    target: Float[Tensor, "... 2"],
    log_scale: Float[Tensor, "..."],
    density: str = "laplace",
) -> Float[Tensor, "..."]:
    """Negative log likelihood in nats of `target` under errors in x and y with the scale exp(log_scale).

    `density` is "laplace", whose scale b is the mean absolute error: (|dx| + |dy|) / b + 2 log(2 b), or "gaussian",
    whose scale s is the standard deviation: (dx^2 + dy^2) / (2 s^2) + log(2 pi s^2). A scale below e^-4 or above e^8
    is clamped, and keeps the gradient of the bound. Raises ValueError for another density. Source: Kendall and Gal,
    What Uncertainties Do We Need in Bayesian Deep Learning for Computer Vision?, arXiv:1703.04977.

    >>> coordinate_nll(torch.tensor([3.0, -1.0]), torch.zeros(2), torch.tensor(0.0)).item()  # 4 + 2 log 2
    5.3862...
    """
    difference, log_scale = _difference(prediction, target), widen(log_scale)
    # The gradient of a plain clamp is 0 beyond its bounds, from where no scale would come back.
    log_scale = log_scale + (log_scale.clamp(-4.0, 8.0) - log_scale).detach()
    if density == "laplace":
        return difference.abs().sum(-1) * (-log_scale).exp() + 2 * (log_scale + math.log(2))
    if density == "gaussian":
        return difference.square().sum(-1) * (-2 * log_scale).exp() / 2 + 2 * log_scale + math.log(2 * math.pi)
    raise ValueError(f"density must be 'laplace' or 'gaussian', got {density!r}")


def _difference(prediction: Tensor, target: Tensor) -> Tensor:
    return widen(prediction) - widen(target)
