"""The loss of a head that tells for every pixel which keypoint it is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from softpoint.functional import disc_classes, spatial_softmax_with_loss
from softpoint.functional.spatial import widen
from softpoint.training.loss_terms import Mask, Points, Prediction, Term


class PixelClassTerm(Term):
    """Cross-entropy over channels of discs about the keypoints, and of background as the last class.

    Each sample is a mean over its cells and counts by its number of keypoints that can teach. The class of one
    that cannot is left out of that sample's softmax: it is neither here nor absent.

    Args:
        radius: of the discs, in input pixels (`disc_classes`).
        ring: width about each disc, in input pixels, where cells have no class.
        background: what a background cell weighs; one of a keypoint weighs 1. At 1 discs are the most exact, but on
            a large map background is nearly all there is, and discs are long in coming.
        keypoint_weights: one per keypoint instead of 1.
        smoothing: share of every cell's target that is spread evenly over the sample's classes.
    """

    needs = frozenset({"classes"})

    def __init__(
        self,
        radius: float,
        ring: float = 0.0,
        background: float = 1.0,
        keypoint_weights: Sequence[float] | None = None,
        smoothing: float = 0.0,
        weight: float = 1.0,
    ) -> None:
        super().__init__(weight)
        if not (radius > 0 and ring >= 0):
            raise ValueError(f"radius must be positive and ring at least 0, got {radius} and {ring}")
        if not (background >= 0 and all(one >= 0 for one in keypoint_weights or ())):
            raise ValueError(f"a class weighs at least 0, got background={background}, {keypoint_weights=}")
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing must lie in [0, 1), got {smoothing}")
        self.radius, self.ring, self.background, self.smoothing = radius, ring, background, smoothing
        self.keypoint_weights = None if keypoint_weights is None else list(keypoint_weights)

    def forward(
        self, prediction: Prediction, cells: Points, stride: int, mask: Mask, progress: float | None = None
    ) -> Float[Tensor, ""]:
        logits = widen(prediction["classes"])
        known = torch.cat((mask, torch.ones_like(mask[:, :1])), 1)[..., None, None]
        target = self._target(logits, cells, stride, mask, known)
        # So that the weights of a sample sum to its number of keypoints.
        total = target.sum((1, 2, 3))
        share = torch.where(total > 0, mask.sum(1) / total.clamp_min(torch.finfo(total.dtype).tiny), 0)
        # Far below any logit, and finite: its target of 0 times infinity would be NaN.
        logits = torch.where(known, logits, -1e30)
        _, loss = spatial_softmax_with_loss(logits, target * share[:, None, None, None], scale=len(logits))
        return loss / mask.sum().clamp_min(1)

    def _target(self, logits: Tensor, cells: Points, stride: int, mask: Mask, known: Tensor) -> Tensor:
        """The distribution over classes of each cell, times the weights of class and cell."""
        size = (logits.shape[-2], logits.shape[-1])
        target, kept = disc_classes(cells, mask, size, self.radius / stride, self.ring / stride)
        even = known.to(target.dtype) / known.sum(1, keepdim=True)
        target = (1 - self.smoothing) * target + self.smoothing * even
        return target * self._weights(target)[:, None, None] * kept[:, None]

    def _weights(self, target: Tensor) -> Tensor:
        count = target.shape[1] - 1
        given = [1.0] * count if self.keypoint_weights is None else self.keypoint_weights
        if len(given) != count:
            raise ValueError(f"keypoint_weights has {len(given)} numbers for {count} keypoints; give one for each")
        return target.new_tensor([*given, self.background])
