"""The training loss: a weighted sum of terms, each one number per keypoint, reduced by one masked mean.

Targets are rendered here, on the device, from keypoints in input pixels: data sets know no sigma.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from softpoint.functional import hard_keypoints, image_to_grid, masked_mean
from softpoint.functional.spatial import widen
from softpoint.labels.schema import ABSENT
from softpoint.training.loss_terms import (
    CoordinateTerm,
    Points,
    States,
    Term,
    VarianceTerm,
    VisibilityTerm,
)

__all__ = ["KeypointLoss", "States", "trainable", "visibility_target"]

_log = logging.getLogger(__name__)

# What a head may train, in words, and the loss for it.
_PARTS = {
    "logits": ("heatmap logits", "heatmap_ce+coordinate"),
    "axes": ("axis distributions", "axis_ce+coordinate"),
    "classes": ("classes of pixels", "pixel_classes"),
    "log_scale": ("the scale of errors", "coordinate_nll"),
    "mean": ("a mean position", "coordinate_l1"),
}


class KeypointLoss(nn.Module):
    """Sum of weighted terms over the keypoints that can teach something.

    A keypoint counts when it is labeled and inside the image. The others have exactly zero gradient,
    and a batch without any gives a finite loss of 0.

    >>> from softpoint.functional import heatmap_ce
    >>> from softpoint.training import HeatmapTerm
    >>> loss = KeypointLoss({"heatmap_ce": HeatmapTerm(heatmap_ce, sigma=4.0)})
    >>> points, nothing = torch.zeros(1, 1, 2), torch.zeros(1, 1, dtype=torch.bool)
    >>> loss({"logits": torch.zeros(1, 1, 8, 8)}, points, nothing, stride=4)["loss"].item()
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
        prediction: Mapping[str, Tensor],
        keypoints: Points,
        mask: Bool[Tensor, "B K"],
        stride: int,
        count: Float[Tensor, ""] | None = None,
        states: States | None = None,
        progress: float | None = None,
    ) -> dict[str, Tensor]:
        """`loss` and each term before its weight, as masked means; keypoints in input pixels.

        `count` replaces the number of keypoints that the sum is divided by: under several processes,
        their mean count, which makes the averaged gradient that of one process with the whole batch.
        Only a visibility term looks at `states`, and without them it is left out. `progress` is how much of the
        training is done, in [0, 1], which targets that sharpen go by; None is its end.
        """
        # An unlabeled point may hold anything, NaN included: it must not even enter the arithmetic.
        cells = image_to_grid(torch.where(mask[..., None], widen(keypoints), 0), stride)
        values = {}
        for name, term in self.terms.items():
            if not isinstance(term, VisibilityTerm):
                losses = term(prediction, cells, stride, mask, progress)
                values[name] = _reduced(losses, mask, count, term.hard_keypoints)
            elif states is not None:
                values[name] = term(states)
        total = torch.stack([self.terms[name].weight * value for name, value in values.items()]).sum()
        return {"loss": total, **values}

    def check_head(self, head: nn.Module) -> None:
        """Whether these terms train all of `head`: ValueError where they cannot, a warning where they do it badly.

        A visibility term beside others may idle: the head alone decides.
        """
        trains: frozenset[str] = head.trains  # type: ignore[assignment]
        states, others = "visibility" in trains, self._without_visibility()
        if states and len(others) == len(self.terms):
            raise ValueError("head.visibility=true, but no term of the loss trains it; add visibility to loss=[...]")
        if not states and not others:
            raise ValueError("the loss has a visibility term alone, and the head tells none; set head.visibility=true")
        for name, term in others.items():
            if not term.needs & trains:
                raise ValueError(self._unfit(name, term, head, trains))
        self._warn_of_scales(trains)
        self._warn_of_windows(head, trains)
        self._warn_of_sigmas()

    def _without_visibility(self) -> dict[str, Term]:
        return {name: term for name, term in self.terms.items() if not isinstance(term, VisibilityTerm)}

    def _unfit(self, name: str, term: Term, head: nn.Module, trains: frozenset[str]) -> str:
        has = " and ".join(words for part, (words, _) in _PARTS.items() if part in trains)
        needs = " or ".join(words for part, (words, _) in _PARTS.items() if part in term.needs)
        instead = next(losses for part, (_, losses) in _PARTS.items() if part in trains)
        visibility = [name for name, term in self.terms.items() if isinstance(term, VisibilityTerm)]
        return (
            f"head={_name(head)} trains {has}, and {name} needs {needs}; use loss=[{','.join([instead, *visibility])}]"
        )

    def _warn_of_scales(self, trains: frozenset[str]) -> None:
        if "log_scale" in trains and not any("log_scale" in term.needs for term in self.terms.values()):
            _log.warning(
                "loss=[%s] trains no scale of errors, so the confidence and covariance of this head say nothing; "
                "add coordinate_nll",
                ",".join(self.terms),
            )

    def _warn_of_windows(self, head: nn.Module, trains: frozenset[str]) -> None:
        """Only a heatmap or axis term asks for one peak; without any, what is about the maximum was not trained."""
        indirect = all(isinstance(term, CoordinateTerm | VarianceTerm) for term in self._without_visibility().values())
        if indirect and trains & {"logits", "axes"} and getattr(head, "decode", None) != "expectation":
            _log.warning(
                "loss=[%s] has no heatmap term, so nothing asks the maps for one peak, but the head reads a window "
                "about it; set head.decode=expectation, or add a term such as %s",
                ",".join(self.terms),
                "heatmap_ce" if "logits" in trains else "axis_ce",
            )

    def _warn_of_sigmas(self) -> None:
        """Near the border, a coordinate term with another sigma asks for another place than the heatmap term does."""
        maps = {name: term for name, term in self.terms.items() if hasattr(term, "target")}
        for name, term in self.terms.items():
            for beside, other in maps.items() if isinstance(term, CoordinateTerm) else ():
                sigma = other.sigma if other.target == "gaussian" else None
                if term.sigma is not None and term.sigma != sigma:
                    _log.warning(
                        "%s aims at the mean of a Gaussian other than the target of %s, and near the border they "
                        "disagree; set loss.%s.sigma=%s",
                        *(name, beside, name, "null" if sigma is None else f"'${{loss.{beside}.sigma}}'"),
                    )


def _reduced(
    losses: Tensor, mask: Bool[Tensor, "B K"], count: Float[Tensor, ""] | None, hardest: int | None
) -> Float[Tensor, ""]:
    if losses.ndim == 0:  # a mean over this process's keypoints already
        return losses if count is None else losses * (mask.sum() / torch.where(count > 0, count, 1))
    if hardest is not None:
        losses = hard_keypoints(losses, mask, hardest)
    return masked_mean(losses, mask, count)


def _name(head: nn.Module) -> str:
    """How configs call a head: soft_argmax for SoftArgmaxHead."""
    return re.sub("(?<=[a-z])(?=[A-Z][a-z])", "_", type(head).__name__.removesuffix("Head")).lower()


def trainable(keypoints: Points, visibility: Tensor, size: tuple[int, int]) -> Bool[Tensor, "B K"]:
    """Which keypoints are labeled and lie within an image of `size` (H, W).

    >>> trainable(torch.tensor([[[0.0, 0], [9.6, 0]]]), torch.tensor([[2, 2]]), (10, 10)).tolist()
    [[True, False]]
    """
    return _inside(keypoints, size) & (visibility > 0)


def visibility_target(keypoints: Points, visibility: Tensor, size: tuple[int, int]) -> Int[Tensor, "B K"]:
    """What the input shows of each keypoint, int64: 0 absent, 1 occluded, 2 visible, and -1 where unlabeled.

    Absent is what is labeled but lies outside an image of `size` (H, W), and what is known to be absent.

    >>> from softpoint.labels.schema import ABSENT, OCCLUDED, UNLABELED, VISIBLE
    >>> points = torch.tensor([[[4.0, 4], [9.6, 0], [4, 4], [0, 0], [0, 0]]])
    >>> states = torch.tensor([[VISIBLE, VISIBLE, OCCLUDED, ABSENT, UNLABELED]])
    >>> visibility_target(points, states, (10, 10)).tolist()
    [[2, 0, 1, 0, -1]]
    """
    absent = (visibility == ABSENT) | ((visibility > 0) & ~_inside(keypoints, size))
    return torch.where(absent, 0, torch.where(visibility > 0, visibility, -1)).long()


def _inside(keypoints: Points, size: tuple[int, int]) -> Bool[Tensor, "B K"]:
    limit = keypoints.new_tensor([size[1] - 0.5, size[0] - 0.5])
    return ((keypoints >= -0.5) & (keypoints <= limit)).all(-1)
