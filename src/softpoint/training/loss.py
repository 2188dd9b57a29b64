"""The training loss: a weighted sum of terms, each reduced from one number per keypoint by one masked mean.

Targets are rendered here, on the device, from keypoints in input pixels: data sets know no sigma.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from softpoint.functional import gaussian_axis, hard_keypoints, masked_mean
from softpoint.suggest import did_you_mean
from softpoint.training.loss_terms import LossTerm
from softpoint.training.target import Target
from softpoint.types import Prediction

_log = logging.getLogger(__name__)

# Parts that our heads provide for training, each with its description and with a loss that fits it.
_PARTS = {
    "logits": ("heatmap logits", "heatmap_ce+coordinate"),
    "axes": ("axis distributions", "axis_ce+coordinate"),
    "classes": ("classes of pixels", "pixel_classes"),
    "log_scale": ("the scale of errors", "coordinate_nll"),
    "mean": ("a mean position", "coordinate_l1"),
    "visibility": ("states of keypoints", "visibility"),
}


class KeypointLoss(nn.Module):
    """Weighted sum of terms, over the keypoints that each term can train.

    A keypoint that a term cannot train has exactly zero gradient, and a batch without any gives a loss of 0.

    >>> from softpoint.functional import heatmap_ce
    >>> from softpoint.training import HeatmapTerm
    >>> loss = KeypointLoss({"heatmap_ce": HeatmapTerm(heatmap_ce, weight=1.0)})
    >>> target = Target.of(torch.zeros(1, 1, 2), torch.zeros(1, 1), size=(32, 32), stride=4)
    >>> loss({"logits": torch.zeros(1, 1, 8, 8)}, target)["loss"].item()
    0.0

    Args:
        terms: by name.
        keypoint_weights: of keypoints by name, 1 for all others: how much each counts in the mean of every term. They
            are relative, and apply once `set_keypoints` has told the names.
    """

    terms: Any
    weights: Tensor | None  # (K,)

    def __init__(self, terms: Mapping[str, LossTerm], keypoint_weights: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        if not terms:
            raise ValueError("the loss has no terms; choose at least one, such as loss=heatmap_ce")
        self.terms = nn.ModuleDict(dict(terms))
        self.keypoint_weights = dict(keypoint_weights or {})
        self.register_buffer("weights", None, persistent=False)

    def set_keypoints(self, names: Sequence[str]) -> None:
        """Apply `keypoint_weights` to keypoints in this order; ValueError for other names and impossible weights.

        >>> from softpoint.training import CoordinateTerm
        >>> loss = KeypointLoss({"l1": CoordinateTerm(torch.sub)}, {"nsoe": 2})
        >>> loss.set_keypoints(["nose", "tail"])
        Traceback (most recent call last):
        ValueError: loss.keypoint_weights names 'nsoe': did you mean 'nose'?
        """
        for name, weight in self.keypoint_weights.items():
            if name not in names:
                raise ValueError(f"loss.keypoint_weights names {name!r}: {did_you_mean(name, names)}")
            if not (isinstance(weight, int | float) and 0 <= weight < math.inf):
                raise ValueError(f"loss.keypoint_weights: {name}={weight!r}; give a number from 0 on")
        weights = [float(self.keypoint_weights.get(name, 1.0)) for name in names]
        if not any(weights):
            raise ValueError("loss.keypoint_weights are 0 for every keypoint, which trains nothing; give one a weight")
        if not self.keypoint_weights:
            return
        self.weights = torch.tensor(weights)
        for term in self.terms.values():
            if getattr(term, "keypoint_weights", weights) is None:  # of classes of pixels, which have one loss
                term.keypoint_weights = weights

    def shares(self, term: LossTerm, target: Target) -> Shaped[Tensor, "B K"]:
        """Return how much each keypoint counts in the mean of a term: whether, or by its weight."""
        mask = term.mask(target)
        return mask if self.weights is None else mask * self.weights

    def forward(
        self, prediction: Prediction, target: Target, counts: Mapping[str, Tensor] | None = None
    ) -> dict[str, Float[Tensor, ""]]:
        """Return `loss`, and the masked mean of each term before its weight.

        `counts` has the divisor of each term's mean, in place of the sum of the `shares` here. Under several processes
        that is the mean of their sums: the averaged gradient is then that of one process with the whole batch.
        """
        values = {}
        for name, term in self.terms.items():
            if term.optional and not term.needs & prediction.keys():
                continue
            losses, shares = term(prediction, target), self.shares(term, target)
            if losses.shape != shares.shape:
                raise ValueError(
                    f"the term {name} of the loss returned {tuple(losses.shape)}; it must return a number for each "
                    f"keypoint, (B, K), here {tuple(shares.shape)}"
                )
            if term.hard_keypoints is not None:
                losses = hard_keypoints(losses, term.mask(target), term.hard_keypoints)
            count = shares.sum() if counts is None else counts[name]
            values[name] = masked_mean(losses * shares, shares > 0, count)
        total = torch.stack([self.terms[name].weight * value for name, value in values.items()]).sum()
        return {"loss": total, **values}

    def counts(self, target: Target) -> dict[str, Float[Tensor, ""]]:
        """Return the sum of the `shares` of each term, the divisor of its mean."""
        return {name: self.shares(term, target).sum().float() for name, term in self.terms.items()}

    def trains(self, part: str) -> bool:
        """Return whether a term can train this part of a prediction."""
        return any(part in term.needs for term in self.terms.values())

    def check_head(self, head: nn.Module) -> None:
        """Raise ValueError where the terms cannot train `head`, and warn where they train it badly.

        `head.provides` names the parts of its prediction that a loss may train.
        """
        provides: frozenset[str] = head.provides  # type: ignore[assignment]
        if "visibility" in provides and not self.trains("visibility"):
            raise ValueError("head.visibility=true, but no term of the loss trains it; add visibility to loss=[...]")
        unfit = {name: term for name, term in self.terms.items() if not term.needs & provides}
        if refused := [name for name, term in unfit.items() if not term.optional]:
            raise ValueError(self._unfit(refused[0], head, provides))
        if len(unfit) == len(self.terms):
            raise ValueError(
                f"loss=[{','.join(unfit)}] alone trains nothing of this head; set head.visibility=true, or add a term"
            )
        self._warn_of_untrained(head, provides)
        self._warn_of_sigmas()

    def _unfit(self, name: str, head: nn.Module, provides: frozenset[str]) -> str:
        """Message for a term that the head provides nothing for."""
        has, needs = (
            word.join(_PARTS.get(part, (part, ""))[0] for part in sorted(parts, key=_rank))
            for word, parts in ((" and ", provides - {"visibility"}), (" or ", self.terms[name].needs))
        )
        # SoftArgmaxHead is head=soft_argmax on the command line.
        option = re.sub("(?<=[a-z])(?=[A-Z][a-z])", "_", type(head).__name__.removesuffix("Head")).lower()
        fitting = next((_PARTS[part][1] for part in sorted(provides, key=_rank) if part in _PARTS), "TERM")
        losses = ",".join([fitting, *(name for name, term in self.terms.items() if term.optional)])
        return f"head={option} provides {has}, and {name} needs {needs}; use loss=[{losses}]"

    def _warn_of_untrained(self, head: nn.Module, provides: frozenset[str]) -> None:
        names = ",".join(self.terms)
        if "log_scale" in provides and not self.trains("log_scale"):
            _log.warning(
                "loss=[%s] trains no scale of errors, so the confidence and covariance of this head mean nothing; "
                "add coordinate_nll",
                names,
            )
        reads_window = provides & {"logits", "axes"} and getattr(head, "decode", None) != "expectation"
        if reads_window and not any(term.trains_peak for term in self.terms.values()):
            _log.warning(
                "loss=[%s] has no heatmap term, so the maps are not trained to have one peak, but the head reads a "
                "window about it; set head.decode=expectation, or add a term such as %s",
                names,
                "heatmap_ce" if "logits" in provides else "axis_ce",
            )

    def _warn_of_sigmas(self) -> None:
        """Near the border, a coordinate term with another sigma has another target than the heatmap term."""
        for beside, heatmap in self.terms.items():
            wanted = heatmap.sigma if heatmap.target is gaussian_axis else None
            for name, term in self.terms.items() if heatmap.target is not None else ():
                if "mean" in term.needs and term.sigma is not None and term.sigma != wanted:
                    _log.warning(
                        "the target of %s is the mean of another Gaussian than the target of %s, and near the border "
                        "they disagree; set loss.%s.sigma=%s",
                        *(name, beside, name, "null" if wanted is None else f"'${{loss.{beside}.sigma}}'"),
                    )


def keypoint_loss(loss: Mapping[str, Any]) -> KeypointLoss:
    """Return the loss of the config group `loss`: terms by name, and beside them `keypoint_weights`."""
    terms = {name: term for name, term in loss.items() if name != "keypoint_weights"}
    weights = loss.get("keypoint_weights")
    if not isinstance(weights, Mapping | None):
        raise ValueError(f"loss.keypoint_weights={weights}: give weights by name, such as {{nose: 2}}")
    return KeypointLoss(terms, weights)


def _rank(part: str) -> tuple[int, str]:
    """Order of the parts in messages."""
    return ([*_PARTS].index(part) if part in _PARTS else len(_PARTS)), part
