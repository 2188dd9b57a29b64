"""Fits a calibration to measured errors, leaning on what is usual where they are few."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from softpoint.layers.calibration import TAIL, Evidence, log_deviation, log_odds_within, shape

# What is usual, as mean and deviation: of the log scale of the errors where a heatmap has a deviation of 4 px,
LEVEL = (0.3, 0.5)
# of the slope with which the errors grow with the heatmaps,
SLOPE = (1.4, 0.3)
# of a keypoint's own log scale,
KEYPOINT = (0.0, 0.2)
# of the logistic correction of a hit's log odds,
HIT = ((0.0, 1.0), (0.3, 0.15))
# and of presence at a contrast and a log deviation in the middle of their range.
PRESENCE, MIDDLE = ((3.0, 0.0, 0.0), (3.0, 5.0, 5.0)), (0.0, 2.0, math.log(4.0))

# Errors in px below which differences tell nothing: of a few that are exactly 0 the scale would follow to 0.
LEAST = 0.05
# Covariance over squared scale at which the 90 % ellipses of the t-distribution are right and those of 50 % a little
# large, and how many points it takes to say otherwise.
WIDENING, WIDENING_POINTS = 2.1, 300
# The best epoch was chosen on the very errors that are fitted, which are smaller than new ones for that.
OPTIMISM = 0.05
# How often a keypoint is taken to be out of the image, as a fraction of how often it is in it.
ABSENT = 0.05


class Measured(NamedTuple):
    """Evidence about N samples of K keypoints, and how far each prediction was from the truth."""

    seen: Evidence
    error: Float[Tensor, "N K 2"]  # input px; anything where the mask is not set
    mask: Bool[Tensor, "N K"]
    hit: Bool[Tensor, "N K"]  # whether the error is within the distance that the confidence is about


def fit_calibration(found: Measured, radius: Tensor, absent: Evidence) -> dict[str, Tensor]:
    """Values for `Calibration.set`; `absent` is the evidence (M,) of keypoints known to be out of the image.

    All by maximum a posteriori: the fewer points there are, the nearer the values stay to what is usual.
    """
    found = _double(found)
    deviation, distance = log_deviation(found.seen.spread), _distance(found)
    log_scale, slope = _fit_scale(deviation, distance, found.mask)
    scale = (log_scale + slope * deviation).exp()
    squared = (distance / scale).square()[found.mask]
    return {
        "radius": radius,
        "log_scale": log_scale,
        "slope": slope,
        "widening": _widening(squared),
        "hit": _fit_hits(log_odds_within(radius.double(), scale)[found.mask], found.hit[found.mask]),
        "presence": _fit_presence(found, absent),
    }


def _fit_scale(deviation: Tensor, distance: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """`log_scale` (K,) and `slope` under which the distances are likeliest."""
    centered = deviation - MIDDLE[2]

    def loss(values: Tensor) -> Tensor:
        level, slope, own = values[0], values[1], values[2:]
        log_scale = level + own + slope * centered
        tail = (distance * torch.exp(-log_scale)).square() / TAIL
        surprise = torch.where(mask, 2 * log_scale + (TAIL / 2 + 1) * tail.log1p(), 0).sum()
        return surprise + _unusual(level, LEVEL) + _unusual(slope, SLOPE) + _unusual(own, KEYPOINT)

    start = torch.zeros(2 + mask.shape[1], dtype=deviation.dtype)
    start[0], start[1] = LEVEL[0], SLOPE[0]
    level, slope, own = _minimum(loss, start).split([1, 1, mask.shape[1]])
    return level + own - slope * MIDDLE[2] + OPTIMISM, slope[0]


def _widening(squared: Tensor) -> Tensor:
    """Covariance over squared scale with which ellipses of 50 and 90 % hold as much of these squared distances."""
    usual = torch.tensor(WIDENING, dtype=squared.dtype)
    if not len(squared):
        return usual
    levels = torch.tensor([0.5, 0.9], dtype=squared.dtype)
    needed = squared.quantile(levels).clamp_min(1e-6) * math.exp(2 * OPTIMISM) / (-2 * (1 - levels).log())
    weight = len(squared) / (len(squared) + WIDENING_POINTS)
    return usual * (needed.log() @ levels / levels.sum() - usual.log()).mul(weight).exp()


def _fit_hits(log_odds: Tensor, hit: Tensor) -> Tensor:
    features = torch.stack((torch.ones_like(log_odds), log_odds), -1)
    return _fit_logistic(features, hit.double(), torch.ones_like(log_odds), HIT)


def _fit_presence(found: Measured, absent: Evidence) -> Tensor:
    """Weights of `presence_logit`, which tell labeled keypoints from absent ones; certainty where none is absent."""
    count = len(absent.contrast)
    if not count or not found.mask.any():
        return torch.tensor([20.0, 0.0, 0.0])
    here = _features(Evidence(*(value[found.mask] for value in found.seen)))
    gone = _features(Evidence(*(value.double() for value in absent)))
    weight = torch.cat((torch.ones(len(here)), torch.full((count,), ABSENT * len(here) / count)))
    truth = torch.cat((torch.ones(len(here)), torch.zeros(count)))
    weights = _fit_logistic(torch.cat((here, gone)), truth.double(), weight.double(), PRESENCE)
    middle = torch.tensor(MIDDLE, dtype=weights.dtype)
    return torch.cat((weights[:1] - (weights * middle).sum(), weights[1:]))


def _features(seen: Evidence) -> Tensor:
    columns = (torch.ones_like(seen.contrast), seen.contrast - MIDDLE[1], log_deviation(seen.spread) - MIDDLE[2])
    return torch.stack(columns, -1)


def _fit_logistic(features: Tensor, truth: Tensor, weight: Tensor, usual: tuple) -> Tensor:
    mean = torch.tensor(usual[0], dtype=features.dtype)

    def loss(weights: Tensor) -> Tensor:
        each = binary_cross_entropy_with_logits(features @ weights, truth, weight, reduction="sum")
        return each + _unusual(weights, (mean, torch.tensor(usual[1])))

    return _minimum(loss, mean)


def _unusual(value: Tensor, usual: tuple) -> Tensor:
    """Minus the log density of a Gaussian of this mean and deviation."""
    return ((value - usual[0]) / usual[1]).square().sum() / 2


def _minimum(loss: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    values = start.clone().requires_grad_()
    search = torch.optim.LBFGS([values], max_iter=300, line_search_fn="strong_wolfe", tolerance_change=1e-10)

    def closure() -> Tensor:
        search.zero_grad()
        value = loss(values)
        value.backward()
        return value

    with torch.enable_grad():
        search.step(closure)
    return values.detach()


def _distance(found: Measured) -> Tensor:
    """Each error's length, measured along the axes of its heatmap's shape and at least `LEAST`."""
    error = torch.where(found.mask[..., None], found.error, 0)
    return (error * torch.linalg.solve(shape(found.seen.spread), error)).sum(-1).clamp_min(LEAST**2).sqrt()


def _double(found: Measured) -> Measured:
    return Measured(Evidence(*(value.double() for value in found.seen)), found.error.double(), found.mask, found.hit)
