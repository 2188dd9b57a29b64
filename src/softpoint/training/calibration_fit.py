"""The fit of a calibration to measured errors, with priors that dominate where there are few of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from softpoint.layers.calibration import (
    COVARIANCE_SCALE,
    TAIL,
    Evidence,
    log_deviation,
    log_odds_within,
    unit_covariance,
)

# Priors, as mean and deviation, from calibrations on several public sets. Of the log scale of the errors where a
# heatmap has a deviation of 4 px, of the slope with which it grows with the heatmap's log deviation, of its slope along
# the lead of the first peak about a central one, and of a keypoint's difference from this plane:
LEVEL, SLOPE, PEAK, KEYPOINT = (0.3, 0.5), (1.4, 0.3), (0.0, 0.5), (0.0, 0.2)
CENTRAL_LEAD = 1.5
# Of the logistic correction of a hit's log odds, and of presence at a central contrast and log deviation:
HIT = ((0.0, 1.0), (0.3, 0.15))
PRESENCE, CENTER = ((3.0, 0.0, 0.0), (3.0, 5.0, 5.0)), (0.0, 2.0, math.log(4.0))

# Smallest error in px that counts: a few errors of exactly 0 would else draw the scale to 0.
MIN_ERROR = 0.05
# Number of points with which the data weighs as much as the prior `COVARIANCE_SCALE`.
COVARIANCE_POINTS = 100
# Parts of the points by scale, by which the slope of the covariance is found, and the squared deviation of log scales
# with which the data weighs as much as a slope of 0.
_PARTS, _RIDGE = 4, 0.05
_STEEPEST = 1.0
# Log factor from the errors that are fitted to new ones: the best epoch was chosen by the same errors.
OPTIMISM = 0.05
# Assumed number of keypoints out of the image per keypoint in it.
ABSENT = 0.05


class Measured(NamedTuple):
    """Evidence about N samples of K keypoints, and the errors of their predictions."""

    evidence: Evidence
    error: Float[Tensor, "N K 2"]  # input px; any value where the mask is false
    mask: Bool[Tensor, "N K"]
    hit: Bool[Tensor, "N K"]  # whether the error is within the distance that the confidence refers to
    tail: Float[Tensor, "N K"] | None = None  # `tail_mass_at` the labels, where heatmap sets are wanted


def fit_calibration(measured: Measured, radius: Tensor, absent: Evidence, weight: float = 1.0) -> dict[str, Tensor]:
    """Return values for `Calibration.set`; `absent` is the evidence (M,) of keypoints known to be out of the image.

    All are maximum a posteriori estimates: the fewer points there are, the nearer the values are to the priors. A point
    counts as `weight` points, below 1 where few images are independent.
    """
    mask, observed = measured.mask, Evidence(*(value.double() for value in measured.evidence))
    # The length of each error in units of its heatmap's unit ellipse.
    error = torch.where(mask[..., None], measured.error.double(), 0)
    squared = (error * torch.linalg.solve(unit_covariance(observed.spread), error)).sum(-1)
    deviation, distance = log_deviation(observed.spread), squared.clamp_min(MIN_ERROR**2).sqrt()
    values = _fit_scale(deviation, observed.lead, distance, mask, weight)
    log_scale = values["log_scale"] + values["slope"] * deviation + values["peak_weight"] * observed.lead
    scale = log_scale.exp()
    log_odds = log_odds_within(radius.double(), scale)[mask]
    features = torch.stack((torch.ones_like(log_odds), log_odds), -1)
    weights = torch.full_like(log_odds, weight)
    return {
        "radius": radius,
        **values,
        **_fit_covariance((distance / scale).square()[mask], (log_scale - radius.double().log())[mask], weight),
        "hit_weights": _fit_logistic(features, measured.hit[mask].double(), weights, HIT),
        "presence_weights": _fit_presence(observed.spread[mask], observed.contrast[mask], absent, weight),
    }


def _fit_scale(deviation: Tensor, lead: Tensor, distance: Tensor, mask: Tensor, weight: float) -> dict[str, Tensor]:
    """Values of the scale of the t-distribution under which the distances are most likely."""
    wide, leading = deviation - CENTER[2], lead - CENTRAL_LEAD

    def loss(values: Tensor) -> Tensor:
        level, slope, peak, own = values[0], values[1], values[2], values[3:]
        log_scale = level + own + slope * wide + peak * leading
        tail = (distance * torch.exp(-log_scale)).square() / TAIL
        nll = torch.where(mask, 2 * log_scale + (TAIL / 2 + 1) * tail.log1p(), 0).sum()
        general = _gaussian_nll(level, LEVEL) + _gaussian_nll(slope, SLOPE) + _gaussian_nll(peak, PEAK)
        return weight * nll + general + _gaussian_nll(own, KEYPOINT)

    start = torch.zeros(3 + mask.shape[1], dtype=deviation.dtype)
    start[0], start[1] = LEVEL[0], SLOPE[0]
    level, slope, peak, own = _minimize(loss, start).split([1, 1, 1, mask.shape[1]])
    log_scale = level + own - slope * CENTER[2] - peak * CENTRAL_LEAD + OPTIMISM
    return {"log_scale": log_scale, "slope": slope[0], "peak_weight": peak[0]}


def _fit_covariance(squared: Tensor, log_scale: Tensor, weight: float) -> dict[str, Tensor]:
    """Scale and slope of the covariance whose ellipses of 50 and 90 % hold these shares, for sure and unsure points.

    `squared` (P,) are squared distances over squared scales, `log_scale` (P,) logs of scales over the radius.
    """
    share = weight * len(squared) / (weight * len(squared) + COVARIANCE_POINTS)
    slope, middle = squared.new_tensor(0.0), squared.new_tensor(0.0)
    if len(squared) >= _PARTS:
        middle = log_scale.mean()
        parts = log_scale.argsort().tensor_split(_PARTS)
        place = torch.stack([log_scale[part].mean() for part in parts]) - middle
        slope = share * (place @ torch.stack([_needed(squared[part]) for part in parts]))
        slope = (slope / (place.square().sum() + _PARTS * _RIDGE)).clamp(-_STEEPEST, _STEEPEST)
    level = squared.new_tensor(COVARIANCE_SCALE).log()
    if len(squared):
        level = level + share * (_needed(squared / (slope * (log_scale - middle)).exp()) - level)
    return {"covariance_scale": (level - slope * middle).exp(), "covariance_slope": slope}


def _needed(squared: Tensor) -> Tensor:
    """Log of the covariance over squared scale whose 50 and 90 % ellipses hold these shares, on average."""
    levels = squared.new_tensor([0.5, 0.9])
    needed = squared.quantile(levels).clamp_min(1e-6) * math.exp(2 * OPTIMISM) / (-2 * (1 - levels).log())
    return needed.log() @ levels / levels.sum()


def _fit_presence(spread: Tensor, contrast: Tensor, absent: Evidence, weight: float) -> Tensor:
    """Weights of a logistic function that separates labeled keypoints from absent ones; 1 where none is absent."""
    present, count = len(contrast), len(absent.contrast)
    if not count or not present:
        return torch.tensor([20.0, 0.0, 0.0])
    contrast = torch.cat((contrast, absent.contrast.double()))
    deviation = log_deviation(torch.cat((spread, absent.spread.double())))
    features = torch.stack((torch.ones_like(contrast), contrast - CENTER[1], deviation - CENTER[2]), -1)
    counts = weight * torch.cat((torch.ones(present), torch.full((count,), ABSENT * present / count)))
    truth = torch.cat((torch.ones(present), torch.zeros(count)))
    weights = _fit_logistic(features, truth.double(), counts.double(), PRESENCE)
    center = torch.tensor(CENTER, dtype=weights.dtype)
    return torch.cat((weights[:1] - (weights * center).sum(), weights[1:]))


def _fit_logistic(
    features: Tensor, truth: Tensor, weight: Tensor, prior: tuple[tuple[float, ...], tuple[float, ...]]
) -> Tensor:
    """Weights of the features whose logistic function is the probability of `truth`."""
    mean, deviation = torch.tensor(prior[0], dtype=features.dtype), torch.tensor(prior[1])

    def loss(weights: Tensor) -> Tensor:
        nll = binary_cross_entropy_with_logits(features @ weights, truth, weight, reduction="sum")
        return nll + _gaussian_nll(weights, (mean, deviation))

    return _minimize(loss, mean)


def _gaussian_nll(value: Tensor, prior: tuple[float, float] | tuple[Tensor, Tensor]) -> Tensor:
    """Negative log density of a Gaussian prior (mean, deviation), up to a constant."""
    return ((value - prior[0]) / prior[1]).square().sum() / 2


def _minimize(loss: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    values = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([values], max_iter=300, line_search_fn="strong_wolfe", tolerance_change=1e-10)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(values)
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(closure)
    return values.detach()
