"""The terms that a loss is summed from: each gives one number per keypoint.

A loss of your own needs two files. If it compares logit maps with target maps, or positions with positions, write a
function and a YAML that passes it to `HeatmapTerm` or `CoordinateTerm`, as `configs/loss/heatmap_ce.yaml` does.
Otherwise write a child of `LossTerm`. See `examples/own_modules/` for one that is not part of this package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from softpoint.functional import gaussian_axis, grid_to_image, image_to_grid, soft_argmax
from softpoint.functional.losses.heatmap import TAKE_AXES
from softpoint.functional.spatial import axis_positions, product_of_axes, widen
from softpoint.functional.targets import TARGETS, AxisTarget
from softpoint.suggest import did_you_mean
from softpoint.training.target import Sigma, Target
from softpoint.types import Prediction

Maps = Float[Tensor, "B K h w"]
Points = Float[Tensor, "B K 2"]
Losses = Float[Tensor, "B K"]


class LossTerm(nn.Module):
    """A term of the loss, with its `weight` in the sum.

    A child's `forward` takes a prediction and a target, and returns (B, K); `mask` tells which of them count.

    Args:
        weight: factor of the term's masked mean in the loss.
        hard_keypoints: train only this many keypoints of each sample, those with the largest losses; None for all.

    Raises ValueError for a negative weight and for fewer than one hard keypoint.
    """

    # Parts of a prediction, one of which the head must provide (`Head.provides`) for the term to train it.
    needs: ClassVar[frozenset[str]] = frozenset({"logits"})
    # Whether the term is left out, instead of refused, where the head provides none of these.
    optional: ClassVar[bool] = False
    # Whether the term trains a map to have a single peak, at the keypoint; a mean or a variance alone does not.
    trains_peak: ClassVar[bool] = True
    # The target along one axis, and its width over the training, of terms that have them.
    target: AxisTarget | None = None
    sigma: Sigma | None = None

    def __init__(self, weight: float, hard_keypoints: int | None = None) -> None:
        super().__init__()
        if not weight >= 0:
            raise ValueError(f"the weight of a loss must be at least 0, got {weight}")
        if hard_keypoints is not None and hard_keypoints < 1:
            raise ValueError(f"hard_keypoints must be at least 1, got {hard_keypoints}; null keeps all")
        self.weight, self.hard_keypoints = weight, hard_keypoints

    def mask(self, target: Target) -> Bool[Tensor, "B K"]:
        """Return which keypoints count: by default those whose position can be trained."""
        return target.mask

    def forward(self, prediction: Prediction, target: Target) -> Losses:
        """Return the loss of each keypoint; it must be finite wherever `mask` is true."""
        raise NotImplementedError


class HeatmapTerm(LossTerm):
    """A loss of heatmap logits (B, K, h, w) against target maps.

    Args:
        loss: called with logits and target maps of the same shape, returns (B, K); those of `TAKE_AXES` get the target
            as its distributions along y and x.
        weight: of the term; each loss function has a scale of its own.
        sigma: width of a Gaussian target in input pixels; {start: 8, end: 3} narrows it over the training.
        target: gaussian, nearest (one cell) or bilinear (four cells), or a function such as `gaussian_axis`.
    """

    sigma: Sigma
    target: AxisTarget

    def __init__(
        self,
        loss: Callable[[Tensor, Any], Tensor],
        weight: float,
        sigma: float | Mapping[str, float] = 3.0,
        target: str | AxisTarget = "gaussian",
        hard_keypoints: int | None = None,
    ) -> None:
        super().__init__(weight, hard_keypoints)
        if isinstance(target, str) and target not in TARGETS:
            raise ValueError(f"a loss has no target {target!r}; {did_you_mean(target, TARGETS)}")
        self.loss, self.sigma = loss, Sigma.of(sigma)
        self.target = TARGETS[target] if isinstance(target, str) else target

    def forward(self, prediction: Prediction, target: Target) -> Losses:
        logits, std = prediction["logits"], self.sigma.at(target.progress) / target.stride
        height, width = logits.shape[-2:]
        axes = self.target(target.points[..., 1], std, height), self.target(target.points[..., 0], std, width)
        return self.loss(logits, axes if _function(self.loss) in TAKE_AXES else product_of_axes(*map(widen, axes)))


def _function(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function of a loss whose options are fixed."""
    return loss.func if isinstance(loss, partial) else loss


class AxisTerm(HeatmapTerm):
    """A loss of the logits along x, plus the same loss along y; arguments as of `HeatmapTerm`, for one axis."""

    needs = frozenset({"axes"})

    def forward(self, prediction: Prediction, target: Target) -> Losses:
        std, axes = self.sigma.at(target.progress) / target.stride, _axes(prediction)
        x, y = (
            self.target(grid_to_image(target.points[..., i], bins), std * bins, length)
            for i, (length, bins) in enumerate(axes)
        )
        return self.loss(prediction["axis_x"], x) + self.loss(prediction["axis_y"], y)


class CoordinateTerm(LossTerm):
    """A loss of positions in cells: of the head's `mean`, or of the soft-argmax of the whole map without one.

    The part of a Gaussian that lies on the map has its mean further inside than the keypoint, near a border. With
    `sigma`, that mean is the target, so that this term agrees with a heatmap or axis term of the same sigma. Without,
    and for a `mean` that is not of a distribution over cells, the keypoint itself is.

    Args:
        loss: called with predicted and true positions (B, K, 2), returns (B, K).
        sigma: that of the heatmap or axis term beside it, in input pixels; None without one.
    """

    needs = frozenset({"logits", "mean"})
    trains_peak = False

    def __init__(
        self,
        loss: Callable[[Points, Points], Tensor],
        weight: float = 0.3,
        sigma: float | Mapping[str, float] | None = 3.0,
        hard_keypoints: int | None = None,
    ) -> None:
        super().__init__(weight, hard_keypoints)
        self.loss, self.sigma = loss, None if sigma is None else Sigma.of(sigma)

    def forward(self, prediction: Prediction, target: Target) -> Losses:
        points = target.points
        if self.sigma is not None and ("mean" not in prediction or "axis_x" in prediction):
            points = _mean_on_map(prediction, points, self.sigma.at(target.progress) / target.stride)
        position = widen(prediction["mean"]) if "mean" in prediction else soft_argmax(prediction["logits"])
        return self.loss(position, points)


class LikelihoodTerm(LossTerm):
    """A negative log likelihood of the keypoint, in cells, under the head's `mean` and `log_scale`."""

    needs = frozenset({"log_scale"})

    def __init__(
        self, loss: Callable[[Points, Points, Tensor], Tensor], weight: float = 1.0, hard_keypoints: int | None = None
    ) -> None:
        super().__init__(weight, hard_keypoints)
        self.loss = loss

    def forward(self, prediction: Prediction, target: Target) -> Losses:
        return self.loss(prediction["mean"], target.points, prediction["log_scale"])


class VarianceTerm(LossTerm):
    """A loss that holds the spread of each heatmap to `sigma` input pixels, wherever the heatmap is."""

    trains_peak = False
    sigma: Sigma

    def __init__(
        self,
        loss: Callable[[Maps, float], Tensor],
        weight: float = 1e-4,
        sigma: float | Mapping[str, float] = 3.0,
        hard_keypoints: int | None = None,
    ) -> None:
        super().__init__(weight, hard_keypoints)
        self.loss, self.sigma = loss, Sigma.of(sigma)

    def forward(self, prediction: Prediction, target: Target) -> Losses:
        return self.loss(prediction["logits"], self.sigma.at(target.progress) / target.stride)


class VisibilityTerm(LossTerm):
    """A loss of the states absent, occluded and visible, over the keypoints whose state is known.

    All states weigh alike, although most points of most sets are visible: the predicted probabilities are then the
    frequencies of the states. Weighting by rarity ranked the points no better, and called three times as many points
    occluded as were.
    """

    needs = frozenset({"visibility"})
    optional = True
    trains_peak = False

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor], weight: float = 0.3) -> None:
        super().__init__(weight)
        self.loss = loss

    def mask(self, target: Target) -> Bool[Tensor, "B K"]:
        """Return which keypoints have a known state."""
        return target.states >= 0

    def forward(self, prediction: Prediction, target: Target) -> Losses:
        return self.loss(prediction["visibility"], target.states)


def _axes(prediction: Prediction) -> list[tuple[int, float]]:
    """Number of bins along x and y, each with the bins per cell: 1 where the head has no axes of its own."""
    cells = prediction["logits"].shape
    if "axis_x" not in prediction:
        return [(cells[-1], 1), (cells[-2], 1)]
    width, height = prediction["axis_x"].shape[-1], prediction["axis_y"].shape[-1]
    return [(width, width / cells[-1]), (height, height / cells[-2])]


def _mean_on_map(prediction: Prediction, points: Points, std: float) -> Points:
    """Mean, in cells, of the part of a Gaussian about each point that falls on the map."""
    means = []
    for i, (length, bins) in enumerate(_axes(prediction)):
        target = gaussian_axis(grid_to_image(points[..., i], bins), std * bins, length)
        means.append(image_to_grid((target * axis_positions(length, False, target)).sum(-1), bins))
    return torch.stack(means, -1)
