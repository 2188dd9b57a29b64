"""Calibration of confidence and covariance to measured errors."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softpoint.functional import image_to_grid, spatial_softmax
from softpoint.types import Prediction

# Degrees of freedom of the errors' t-distribution: some errors are far larger than a heatmap suggests.
TAIL = 3.0
# Distance in cells at which a moment is halved: further mass is another mode, which would hide the width of this one.
REACH = 4.0
# Share of a heatmap's covariance that is replaced by a circle, so that no ellipse is a line.
ROUND = 0.05
# Number of independent images, or groups of them, below which a fitted calibration stays close to its priors. Weights
# by the intraclass correlation (0.2 for log errors in 27 recordings) were no better on new ones, by log loss.
FEW_UNITS = 20
# Covariance over squared scale at which 90 % ellipses of the t-distribution are right and 50 % ellipses a little
# large: the prior of its fit.
COVARIANCE_SCALE = 2.1
# Probabilities of the regions that a calibration holds the radii of.
REGION_LEVELS = (0.5, 0.9)
# Buffers that checkpoints of earlier versions lack.
_ADDED = ("peak_weight", "covariance_slope", "region_radii", "set_tails")


class Evidence(NamedTuple):
    """Properties of predictions that their errors depend on, for any number of keypoints."""

    spread: Float[Tensor, "*n 2 2"]  # second moment of the heatmap about its point, px^2 of the input
    contrast: Float[Tensor, "*n"]  # log of 1 + the largest logit less the mean logit
    presence: Float[Tensor, "*n"]  # the network's own probability that the keypoint is in the image; 1 without one
    lead: Float[Tensor, "*n"]  # log of 1 + the largest logit less the largest farther than `REACH` cells from the point


class ConfidenceParts(NamedTuple):
    """The factors of a confidence, `in_image` x `within_radius`, and what they follow from."""

    in_image: Float[Tensor, "*n"]  # probability that the keypoint is in the image
    within_radius: Float[Tensor, "*n"]  # probability of an error up to `radius`, for a keypoint in the image
    radius: Float[Tensor, "*n"]  # px
    spread: Float[Tensor, "*n"]  # standard deviation of the heatmap near its point, px
    error_scale: Float[Tensor, "*n"]  # scale of the t-distribution of the error, px
    contrast: Float[Tensor, "*n"]  # log of 1 + the largest logit less the mean logit


class Calibration(nn.Module):
    """Confidence as the probability of an error up to `radius` input px, covariance as that of the error.

    Errors follow a Student's t-distribution of `TAIL` degrees of freedom about the predicted point, with the shape of
    the heatmap and the scale exp(log_scale + peak_weight lead) sd^slope, where sd is the heatmap's deviation in px and
    its lead says how far a second peak is below the first. Its mass within `radius`, corrected by a logistic function,
    is the probability of a hit for a keypoint in the image. Another logistic function, of the heatmap's contrast and
    deviation, is the probability that it is in the image. The confidence is their product. The covariance is
    covariance_scale scale^2 (scale / radius)^covariance_slope, as the tail of unsure points may be the heavier one.

    `region_radii` (levels, K + 1) are Mahalanobis radii of ellipses that hold a new label with the probabilities
    `REGION_LEVELS`, of each keypoint and, last, of all keypoints at once; 0 where they are not known. `set_tails` are
    those of heatmap sets (`softpoint.functional.heatmap_set`), in the same order.

    All parameters are buffers, which `softpoint.training.Calibrate` fits. Before, at radius 0, predictions are returned
    unchanged.

    >>> calibration, logits = Calibration(1), torch.zeros(1, 1, 9, 9)
    >>> logits[..., 4, 4] = 9.0
    >>> raw = {"logits": logits, "keypoints": torch.full((1, 1, 2), 17.5)}
    >>> calibration(raw, stride=4) is raw
    True
    >>> calibration.set(radius=torch.tensor(3.0))
    >>> result = calibration(raw, stride=4)
    >>> round(result["confidence"].item(), 3), round(result["covariance"][0, 0, 0, 0].item(), 3)
    (0.944, 1.034)
    """

    radius: Tensor
    log_scale: Tensor
    slope: Tensor
    peak_weight: Tensor
    covariance_scale: Tensor
    covariance_slope: Tensor
    hit_weights: Tensor
    presence_weights: Tensor
    region_radii: Tensor
    set_tails: Tensor

    def __init__(self, num_keypoints: int) -> None:
        super().__init__()
        self.register_buffer("radius", torch.tensor(0.0))
        self.register_buffer("log_scale", torch.zeros(num_keypoints))
        self.register_buffer("slope", torch.tensor(1.0))
        self.register_buffer("peak_weight", torch.tensor(0.0))
        self.register_buffer("covariance_scale", torch.tensor(2.0))  # covariance over squared scale at `radius`
        self.register_buffer("covariance_slope", torch.tensor(0.0))
        self.register_buffer("hit_weights", torch.tensor([0.0, 1.0]))  # of a constant and of the log odds
        self.register_buffer("presence_weights", torch.tensor([20.0, 0.0, 0.0]))  # of a constant, contrast, log sd
        self.register_buffer("region_radii", torch.zeros(len(REGION_LEVELS), num_keypoints + 1))
        self.register_buffer("set_tails", torch.zeros(len(REGION_LEVELS), num_keypoints + 1))
        self.fitted = False  # a plain value, because reading a device's would make every forward wait

    def set(self, **values: Tensor) -> None:
        """Replace the buffers of these names."""
        for name, value in values.items():
            buffer: Tensor = getattr(self, name)
            buffer.copy_(value)
        self.fitted = bool(self.radius > 0)

    def forward(self, prediction: Prediction, stride: int) -> Prediction:
        """Return the prediction with calibrated `confidence` and `covariance`, in float32."""
        if not self.fitted:
            return prediction
        observed = evidence(prediction, stride)
        parts = self.parts(observed)
        covariance = self.covariance(observed, parts.error_scale)
        return {**prediction, "confidence": parts.within_radius * parts.in_image, "covariance": covariance}

    def covariance(self, observed: Evidence, error_scale: Float[Tensor, "*n"]) -> Float[Tensor, "*n 2 2"]:
        """Return the covariance of errors of these scales, in input px^2."""
        relative = (self.covariance_slope * (error_scale / self.radius).log()).exp()
        variance = self.covariance_scale * error_scale.square() * relative
        return variance[..., None, None] * unit_covariance(observed.spread)

    def parts(self, observed: Evidence) -> ConfidenceParts:
        """Return the parts of the confidence that the evidence gives; lengths are in input pixels."""
        deviation = log_deviation(observed.spread)
        scale = (self.log_scale + self.slope * deviation + self.peak_weight * observed.lead).exp()
        hit = _logistic(self.hit_weights[0] + self.hit_weights[1] * log_odds_within(self.radius, scale))
        weights = self.presence_weights
        presence = _logistic(weights[0] + weights[1] * observed.contrast + weights[2] * deviation)
        radius = self.radius.expand_as(scale)
        return ConfidenceParts(presence * observed.presence, hit, radius, deviation.exp(), scale, observed.contrast)

    def older(self, prefix: str = "", all_of_it: bool = False) -> dict[str, Tensor]:
        """Return the values, by name, of what checkpoints of earlier versions lack, or of all that it holds."""
        return {prefix + name: value for name, value in self.state_dict().items() if all_of_it or name in _ADDED}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        for name, value in self.older(prefix).items():
            state_dict.setdefault(name, value)
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        self.fitted = self.radius.device.type != "meta" and bool(self.radius > 0)


def evidence(prediction: Prediction, stride: int) -> Evidence:
    """Return the evidence about the errors of a prediction of any head, without gradients."""
    logits, keypoints = prediction["logits"].detach().float(), prediction["keypoints"].detach().float()
    cells = image_to_grid(keypoints, stride)
    spread = local_moments(spatial_softmax(logits), cells) * stride**2
    contrast = (logits.amax((-2, -1)) - logits.mean((-2, -1))).log1p()
    presence = torch.ones_like(contrast)
    if "visibility" in prediction:
        presence = 1 - prediction["visibility"].detach().float().softmax(-1)[..., 0]
    return Evidence(spread, contrast, presence, peak_lead(logits, cells))


def peak_lead(logits: Float[Tensor, "B K h w"], cells: Float[Tensor, "B K 2"]) -> Float[Tensor, "B K"]:
    """Log of 1 + the largest logit less the largest of cells farther than `REACH` from each point.

    Without such cells the lowest logit takes their place.

    >>> logits = torch.zeros(1, 1, 1, 9); logits[..., 0], logits[..., 8] = 3.0, 2.0
    >>> peak_lead(logits, torch.tensor([[[0.0, 0.0]]])).expm1()
    tensor([[1.]])
    """
    height, width = logits.shape[-2:]
    dx = torch.arange(width, device=logits.device) - cells[..., :1]
    dy = torch.arange(height, device=logits.device) - cells[..., 1:]
    far = dx.square()[..., None, :] + dy.square()[..., :, None] > REACH**2
    second = torch.where(far, logits, logits.amin((-2, -1), keepdim=True)).amax((-2, -1))
    return (logits.amax((-2, -1)) - second).log1p()


def local_moments(heatmap: Float[Tensor, "B K h w"], cells: Float[Tensor, "B K 2"]) -> Float[Tensor, "B K 2 2"]:
    """Second moments [[xx, xy], [xy, yy]] about each point in cells^2, in which d^2 counts as d^2 / (1 + d^2 / 16).

    >>> heatmap = torch.zeros(1, 1, 1, 9); heatmap[..., 5] = 1
    >>> local_moments(heatmap, torch.tensor([[[5.0, 0.0]]]))[0, 0].tolist()
    [[0.0, 0.0], [0.0, 0.0]]
    >>> local_moments(heatmap, torch.tensor([[[1.0, 0.0]]]))[0, 0].tolist()
    [[8.0, 0.0], [0.0, 0.0]]
    """
    height, width = heatmap.shape[-2:]
    dx = torch.arange(width, device=heatmap.device) - cells[..., :1]
    dy = torch.arange(height, device=heatmap.device) - cells[..., 1:]
    near = heatmap / (1 + (dx.square()[..., None, :] + dy.square()[..., :, None]) / REACH**2)
    xx, yy = (near.sum(-2) * dx.square()).sum(-1), (near.sum(-1) * dy.square()).sum(-1)
    # Multiplied out, because autocast would run a matrix product in half precision.
    xy = ((near * dx[..., None, :]).sum(-1) * dy).sum(-1)
    return torch.stack((torch.stack((xx, xy), -1), torch.stack((xy, yy), -1)), -2)


def log_deviation(spread: Float[Tensor, "*n 2 2"]) -> Float[Tensor, "*n"]:
    """Log of the standard deviation of the circle with the determinant of `spread`.

    >>> round(log_deviation(torch.eye(2) * 9).exp().item(), 4)
    3.0
    """
    return _determinant(_rounder(spread)).log() / 4


def unit_covariance(spread: Float[Tensor, "*n 2 2"]) -> Float[Tensor, "*n 2 2"]:
    """Return `spread`, a little rounder, scaled to a determinant of 1.

    >>> unit_covariance(torch.eye(2) * 9)
    tensor([[1., 0.],
            [0., 1.]])
    """
    rounder = _rounder(spread)
    return rounder / _determinant(rounder).sqrt()[..., None, None]


def log_odds_within(radius: Float[Tensor, ""], scale: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Log odds of an error up to `radius` under a circular t-distribution of this scale.

    >>> log_odds_within(torch.tensor(3.0), torch.tensor([3.0])).sigmoid()
    tensor([0.3505])
    """
    log_beyond = -TAIL / 2 * (radius.square() / (TAIL * scale.square())).log1p()
    return (-log_beyond.expm1()).clamp_min(torch.finfo(scale.dtype).tiny).log() - log_beyond


def _rounder(spread: Tensor) -> Tensor:
    # A heatmap of a single cell has no moment at all: a thousandth of a pixel keeps its logarithm finite.
    circle = ROUND / 2 * spread.diagonal(dim1=-2, dim2=-1).sum(-1) + 1e-6
    return (1 - ROUND) * spread + torch.diag_embed(circle[..., None].expand(*circle.shape, 2))


def _logistic(value: Tensor) -> Tensor:
    # torch.sigmoid and torch.pow round the last values of a tensor in another way, so that a confidence would depend on
    # the place of its image in a batch; exp and log do not.
    return 1 / (1 + (-value).exp())


def _determinant(matrix: Tensor) -> Tensor:
    return matrix[..., 0, 0] * matrix[..., 1, 1] - matrix[..., 0, 1] * matrix[..., 1, 0]
