"""The terms that a loss is summed from: each turns a prediction into one number per keypoint.

`needs` names parts of a prediction, as in the `trains` of a head: a term trains a head that offers one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from softpoint.functional import (
    axis_target,
    gaussian_axis,
    grid_to_image,
    image_to_grid,
    masked_mean,
    render_target,
    soft_argmax,
)
from softpoint.functional.spatial import axis_positions, widen
from softpoint.functional.targets import TARGETS
from softpoint.suggest import did_you_mean
from softpoint.training.sigma_schedule import Sigma

Maps = Float[Tensor, "B K h w"]
Points = Float[Tensor, "B K 2"]
Mask = Bool[Tensor, "B K"]
Prediction = Mapping[str, Tensor]


@dataclass(frozen=True)
class States:
    """What a head says about the state of each keypoint, and what is true.

    `logits` are of absent, occluded and visible, `target` is that of `visibility_target`, and `count` replaces
    the number of known states that the sum is divided by, as `count` in `KeypointLoss` does that of keypoints.
    """

    logits: Float[Tensor, "B K 3"]
    target: Int[Tensor, "B K"]
    count: Float[Tensor, ""] | None = None


class Term(nn.Module):
    """One term: a `weight` in the sum, and with `hard_keypoints` only that many, the worst of each sample.

    A child's forward takes a prediction, keypoints in cells, the stride, the mask of those that can teach, and how
    much of the training is done (`Sigma.at`). It gives (B, K), or one number that is a mean over what `mask` holds.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"logits"})

    def __init__(self, weight: float, hard_keypoints: int | None = None) -> None:
        super().__init__()
        if not weight >= 0:
            raise ValueError(f"the weight of a loss must be at least 0, got {weight}")
        if hard_keypoints is not None and hard_keypoints < 1:
            raise ValueError(f"hard_keypoints must be at least 1, got {hard_keypoints}; null keeps all")
        self.weight, self.hard_keypoints = weight, hard_keypoints


class TargetTerm(Term):
    """A loss against a target about each keypoint: a Gaussian of `sigma` input pixels, nearest or bilinear.

    `target` is a kind of `render_target`; only the Gaussian looks at `sigma`, a number or {start: 8, end: 3}.
    """

    def __init__(
        self,
        loss: Callable[[Tensor, Tensor], Tensor],
        sigma: float | Mapping[str, float],
        weight: float = 1.0,
        target: str = "gaussian",
        hard_keypoints: int | None = None,
    ) -> None:
        super().__init__(weight, hard_keypoints)
        _check_target(target)
        self.loss, self.sigma, self.target = loss, Sigma.of(sigma), target


class HeatmapTerm(TargetTerm):
    """A loss of heatmap logits against a target map."""

    def forward(
        self, prediction: Prediction, cells: Points, stride: int, mask: Mask, progress: float | None = None
    ) -> Float[Tensor, "B K"]:
        logits = prediction["logits"]
        size, std = (logits.shape[-2], logits.shape[-1]), self.sigma.at(progress) / stride
        return self.loss(logits, render_target(cells, size, self.target, std))


class AxisTerm(TargetTerm):
    """A loss of the logits along x against a target along x, plus the same along y."""

    needs = frozenset({"axes"})

    def forward(
        self, prediction: Prediction, cells: Points, stride: int, mask: Mask, progress: float | None = None
    ) -> Float[Tensor, "B K"]:
        std, losses = self.sigma.at(progress) / stride, []
        for i, (length, bins) in enumerate(_axes(prediction)):
            target = axis_target(grid_to_image(cells[..., i], bins), length, self.target, std * bins)
            losses.append(self.loss(prediction["axis_x" if i == 0 else "axis_y"], target))
        return losses[0] + losses[1]


class CoordinateTerm(Term):
    """A coordinate loss, in cells, on the head's `mean`, or on the soft-argmax of the whole map of one without.

    `sigma`, in input pixels, is that of a heatmap or axis term beside it. A Gaussian near the border lies partly
    off the map, and the mean of what is left leans inwards; with `sigma` that mean is the target, so that the two
    terms agree. Without, and for a `mean` that is of no distribution over cells, the keypoint itself is.
    """

    needs = frozenset({"logits", "mean"})

    def __init__(
        self,
        loss: Callable[[Points, Points], Tensor],
        weight: float = 1.0,
        sigma: float | Mapping[str, float] | None = None,
        hard_keypoints: int | None = None,
    ) -> None:
        super().__init__(weight, hard_keypoints)
        self.loss, self.sigma = loss, None if sigma is None else Sigma.of(sigma)

    def forward(
        self, prediction: Prediction, cells: Points, stride: int, mask: Mask, progress: float | None = None
    ) -> Float[Tensor, "B K"]:
        if self.sigma is not None and ("mean" not in prediction or "axis_x" in prediction):
            cells = _mean_on_map(prediction, cells, self.sigma.at(progress) / stride)
        found = widen(prediction["mean"]) if "mean" in prediction else soft_argmax(prediction["logits"])
        return self.loss(found, cells)


class LikelihoodTerm(Term):
    """A negative log likelihood of the keypoint, in cells, under the head's `mean` and `log_scale`."""

    needs = frozenset({"log_scale"})

    def __init__(
        self, loss: Callable[[Points, Points, Tensor], Tensor], weight: float = 1.0, hard_keypoints: int | None = None
    ) -> None:
        super().__init__(weight, hard_keypoints)
        self.loss = loss

    def forward(
        self, prediction: Prediction, cells: Points, stride: int, mask: Mask, progress: float | None = None
    ) -> Float[Tensor, "B K"]:
        return self.loss(prediction["mean"], cells, prediction["log_scale"])


class VarianceTerm(Term):
    """Holds each heatmap's spread to `sigma` input pixels, wherever it lies."""

    def __init__(
        self,
        loss: Callable[[Maps, float], Tensor],
        sigma: float | Mapping[str, float],
        weight: float = 1.0,
        hard_keypoints: int | None = None,
    ) -> None:
        super().__init__(weight, hard_keypoints)
        self.loss, self.sigma = loss, Sigma.of(sigma)

    def forward(
        self, prediction: Prediction, cells: Points, stride: int, mask: Mask, progress: float | None = None
    ) -> Float[Tensor, "B K"]:
        return self.loss(prediction["logits"], self.sigma.at(progress) / stride)


class VisibilityTerm(Term):
    """A loss on the state of each keypoint that is known, as a mean over those; 0 where none is.

    Nearly all points of most sets are visible, and no state weighs more for being rare: the probabilities
    that come out are then the frequencies they claim to be, and a threshold decides what to do with them.
    Weighing by rarity ranked the points no better, and called three times as many occluded as were.
    """

    needs = frozenset({"visibility"})

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor], weight: float = 1.0) -> None:
        super().__init__(weight)
        self.loss = loss

    def forward(self, states: States) -> Float[Tensor, ""]:
        return masked_mean(self.loss(states.logits, states.target), states.target >= 0, states.count)


def _axes(prediction: Prediction) -> list[tuple[int, float]]:
    """How many bins x and y have, and how many a cell: cells themselves, where the head has no finer axes."""
    cells = prediction["logits"].shape
    if "axis_x" not in prediction:
        return [(cells[-1], 1), (cells[-2], 1)]
    width, height = prediction["axis_x"].shape[-1], prediction["axis_y"].shape[-1]
    return [(width, width / cells[-1]), (height, height / cells[-2])]


def _mean_on_map(prediction: Prediction, cells: Points, std: float) -> Points:
    """The mean of the part that falls on the map of a Gaussian about each point."""
    means = []
    for i, (length, bins) in enumerate(_axes(prediction)):
        target = gaussian_axis(grid_to_image(cells[..., i], bins), std * bins, length)
        means.append(image_to_grid((target * axis_positions(length, False, target)).sum(-1), bins))
    return torch.stack(means, -1)


def _check_target(target: str) -> None:
    if target not in TARGETS:
        raise ValueError(f"a loss has no target {target!r}; {did_you_mean(target, TARGETS)}")
