"""The loss of a head that classifies pixels by keypoint."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from softpoint.functional import disc_classes
from softpoint.functional.spatial import widen
from softpoint.training.loss_terms import Losses, LossTerm
from softpoint.training.target import Target
from softpoint.types import Prediction


class PixelClassTerm(LossTerm):
    """Cross-entropy over channels against discs about the keypoints, with background as the last class.

    The loss of a sample, its mean over cells, is the loss of each of its keypoints. The class of a keypoint that
    cannot be trained is left out of that sample's softmax, because its cells are unknown.

    Args:
        radius: of the discs, in input pixels (`disc_classes`).
        ring: width about each disc, in input pixels, where cells have no class.
        background: weight of a background cell; that of a keypoint is 1. At 1 discs are the most exact, but on a large
            map nearly all cells are background, and discs take long to appear.
        keypoint_weights: one per keypoint instead of 1.
        smoothing: share of every cell's target that is spread evenly over the sample's classes.

    Raises ValueError for a value out of range.
    """

    needs = frozenset({"classes"})

    def __init__(
        self,
        radius: float = 6.0,
        ring: float = 4.0,
        background: float = 0.1,
        keypoint_weights: Sequence[float] | None = None,
        smoothing: float = 0.0,
        weight: float = 1.0,
    ) -> None:
        super().__init__(weight)
        if not (radius > 0 and ring >= 0):
            raise ValueError(f"radius must be positive and ring at least 0, got {radius} and {ring}")
        if not (background >= 0 and all(value >= 0 for value in keypoint_weights or ())):
            raise ValueError(
                f"the weight of a class must be at least 0, got background={background}, {keypoint_weights=}"
            )
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing must be in [0, 1), got {smoothing}")
        self.radius, self.ring, self.background, self.smoothing = radius, ring, background, smoothing
        self.keypoint_weights = None if keypoint_weights is None else list(keypoint_weights)

    def forward(self, prediction: Prediction, target: Target) -> Losses:
        logits = widen(prediction["classes"])
        trained = torch.cat((target.mask, torch.ones_like(target.mask[:, :1])), 1)[..., None, None]
        share = self._weighted_target(logits, target, trained)
        # Far below any logit, and finite: its target of 0 times infinity would be NaN.
        log_p = torch.where(trained, logits, -1e30).log_softmax(1)
        total = share.sum((1, 2, 3)).clamp_min(torch.finfo(share.dtype).tiny)
        return (-(share * log_p).sum((1, 2, 3)) / total)[:, None].expand(target.mask.shape)

    def _weighted_target(self, logits: Tensor, target: Target, trained: Tensor) -> Tensor:
        """Distribution over classes at each cell, times the weights of class and cell (B, K + 1, h, w)."""
        size, stride = (logits.shape[-2], logits.shape[-1]), target.stride
        classes, kept = disc_classes(target.points, target.mask, size, self.radius / stride, self.ring / stride)
        even = trained.to(classes.dtype) / trained.sum(1, keepdim=True)
        count = classes.shape[1] - 1
        weights = [1.0] * count if self.keypoint_weights is None else self.keypoint_weights
        if len(weights) != count:
            raise ValueError(f"keypoint_weights has {len(weights)} numbers for {count} keypoints; give one for each")
        smooth = (1 - self.smoothing) * classes + self.smoothing * even
        return smooth * classes.new_tensor([*weights, self.background])[:, None, None] * kept[:, None]
