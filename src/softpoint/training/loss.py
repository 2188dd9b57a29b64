"""The training loss: a weighted sum of terms, each one number per keypoint, reduced by one masked mean.

Targets are rendered here, on the device, from keypoints in input pixels: data sets know no sigma.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from softpoint.data.labels import ABSENT
from softpoint.functional import image_to_grid, masked_mean, render_gaussians, soft_argmax, spatial_expectation

Maps = Float[Tensor, "B K h w"]
Points = Float[Tensor, "B K 2"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class States:
    """What a head says about the state of each keypoint, and what is true.

    `logits` are of absent, occluded and visible, `target` is that of `visibility_target`, and `count` replaces
    the number of known states that the sum is divided by, as `count` in `KeypointLoss` does that of keypoints.
    """

    logits: Float[Tensor, "B K 3"]
    target: Int[Tensor, "B K"]
    count: Float[Tensor, ""] | None = None


class KeypointLoss(nn.Module):
    """Sum of weighted terms over the keypoints that can teach something.

    A keypoint counts when it is labelled and inside the image. The others have exactly zero gradient,
    and a batch without any gives a finite loss of 0.

    >>> from softpoint.functional import heatmap_ce
    >>> loss = KeypointLoss({"heatmap_ce": HeatmapTerm(heatmap_ce, sigma=4.0)})
    >>> points, nothing = torch.zeros(1, 1, 2), torch.zeros(1, 1, dtype=torch.bool)
    >>> loss(torch.zeros(1, 1, 8, 8), points, nothing, stride=4)["loss"].item()
    0.0
    """

    terms: Any

    def __init__(self, terms: Mapping[str, nn.Module]) -> None:
        super().__init__()
        if not terms:
            raise ValueError("the loss has no terms; choose at least one, such as loss=heatmap_ce")
        self.terms = nn.ModuleDict(dict(terms))

    def forward(
        self,
        logits: Maps,
        keypoints: Points,
        mask: Bool[Tensor, "B K"],
        stride: int,
        count: Float[Tensor, ""] | None = None,
        states: States | None = None,
    ) -> dict[str, Tensor]:
        """`loss` and each term before its weight, as masked means; keypoints in input pixels.

        `count` replaces the number of keypoints that the sum is divided by: under several processes,
        their mean count, which makes the averaged gradient that of one process with the whole batch.
        Only a visibility term looks at `states`, and without them it is left out.
        """
        # An unlabelled point may hold anything, NaN included: it must not even enter the arithmetic.
        cells = image_to_grid(torch.where(mask[..., None], keypoints, 0), stride)
        values = {}
        for name, term in self.terms.items():
            if not isinstance(term, VisibilityTerm):
                values[name] = masked_mean(term(logits, cells, stride), mask, count)
            elif states is not None:
                values[name] = term(states)
        total = torch.stack([self.terms[name].weight * value for name, value in values.items()]).sum()
        return {"loss": total, **values}

    def check_head(self, head: nn.Module) -> None:
        """Whether these terms train all of `head`: ValueError where they cannot, a warning where they do it badly.

        Only a heatmap term asks a map for one peak; without any, the window about its maximum is not what
        the loss has trained. A visibility term beside others may idle: the head alone decides.
        """
        terms, states = list(self.terms.values()), getattr(head, "visibility", None) is not None
        if states and not any(isinstance(term, VisibilityTerm) for term in terms):
            raise ValueError("head.visibility=true, but no term of the loss trains it; add visibility to loss=[...]")
        if not states and all(isinstance(term, VisibilityTerm) for term in terms):
            raise ValueError("the loss has a visibility term alone, and the head tells none; set head.visibility=true")
        if not any(isinstance(term, HeatmapTerm) for term in terms) and not getattr(head, "whole_map", True):
            _log.warning(
                "loss=[%s] has no heatmap term, so nothing asks the maps for one peak, but the head reads a window "
                "about it; set head.whole_map=true, or add a term such as heatmap_ce",
                ",".join(self.terms),
            )


def trainable(keypoints: Points, visibility: Tensor, size: tuple[int, int]) -> Bool[Tensor, "B K"]:
    """Which keypoints are labelled and lie within an image of `size` (H, W).

    >>> trainable(torch.tensor([[[0.0, 0], [9.6, 0]]]), torch.tensor([[2, 2]]), (10, 10)).tolist()
    [[True, False]]
    """
    return _inside(keypoints, size) & (visibility > 0)


def visibility_target(keypoints: Points, visibility: Tensor, size: tuple[int, int]) -> Int[Tensor, "B K"]:
    """What the input shows of each keypoint, int64: 0 absent, 1 occluded, 2 visible, and -1 where unlabelled.

    Absent is what is labelled but lies outside an image of `size` (H, W), and what is known to be absent.

    >>> from softpoint.data.labels import ABSENT, OCCLUDED, UNLABELLED, VISIBLE
    >>> points = torch.tensor([[[4.0, 4], [9.6, 0], [4, 4], [0, 0], [0, 0]]])
    >>> states = torch.tensor([[VISIBLE, VISIBLE, OCCLUDED, ABSENT, UNLABELLED]])
    >>> visibility_target(points, states, (10, 10)).tolist()
    [[2, 0, 1, 0, -1]]
    """
    absent = (visibility == ABSENT) | ((visibility > 0) & ~_inside(keypoints, size))
    return torch.where(absent, 0, torch.where(visibility > 0, visibility, -1)).long()


def _inside(keypoints: Points, size: tuple[int, int]) -> Bool[Tensor, "B K"]:
    limit = keypoints.new_tensor([size[1] - 0.5, size[0] - 0.5])
    return ((keypoints >= -0.5) & (keypoints <= limit)).all(-1)


class HeatmapTerm(nn.Module):
    """A heatmap loss against a Gaussian of `sigma` input pixels about each keypoint."""

    def __init__(self, loss: Callable[[Maps, Maps], Tensor], sigma: float, weight: float = 1.0) -> None:
        super().__init__()
        _check_sigma(sigma)
        self.loss, self.sigma, self.weight = loss, sigma, weight

    def forward(self, logits: Maps, cells: Points, stride: int) -> Float[Tensor, "B K"]:
        return self.loss(logits, _target(logits, cells, self.sigma / stride))


class CoordinateTerm(nn.Module):
    """A coordinate loss on the soft-argmax of the whole map, in cells.

    `sigma`, in input pixels, is that of a heatmap term beside it. A Gaussian near the border lies partly off
    the map, and the mean of what is left leans inwards; with `sigma` that mean is the target, so that the
    two terms agree. Without, the keypoint itself is.
    """

    def __init__(
        self, loss: Callable[[Points, Points], Tensor], weight: float = 1.0, sigma: float | None = None
    ) -> None:
        super().__init__()
        if sigma is not None:
            _check_sigma(sigma)
        self.loss, self.weight, self.sigma = loss, weight, sigma

    def forward(self, logits: Maps, cells: Points, stride: int) -> Float[Tensor, "B K"]:
        if self.sigma is not None:
            cells = spatial_expectation(_target(logits, cells, self.sigma / stride))
        return self.loss(soft_argmax(logits), cells)


class VarianceTerm(nn.Module):
    """Holds each heatmap's spread to `sigma` input pixels, wherever it lies."""

    def __init__(self, loss: Callable[[Maps, float], Tensor], sigma: float, weight: float = 1.0) -> None:
        super().__init__()
        _check_sigma(sigma)
        self.loss, self.sigma, self.weight = loss, sigma, weight

    def forward(self, logits: Maps, cells: Points, stride: int) -> Float[Tensor, "B K"]:
        return self.loss(logits, self.sigma / stride)


class VisibilityTerm(nn.Module):
    """A loss on the state of each keypoint that is known, as a mean over those; 0 where none is.

    Nearly all points of most sets are visible, and no state weighs more for being rare: the probabilities
    that come out are then the frequencies they claim to be, and a threshold decides what to do with them.
    Weighing by rarity ranked the points no better, and called three times as many occluded as were.
    """

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor], weight: float = 1.0) -> None:
        super().__init__()
        self.loss, self.weight = loss, weight

    def forward(self, states: States) -> Float[Tensor, ""]:
        return masked_mean(self.loss(states.logits, states.target), states.target >= 0, states.count)


def _target(logits: Maps, cells: Points, std: float) -> Maps:
    """A Gaussian about each point, on the grid of the logits."""
    return render_gaussians(cells, std, (logits.shape[-2], logits.shape[-1]))


def _check_sigma(sigma: float) -> None:
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, got {sigma}")
