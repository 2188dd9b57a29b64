"""What the metrics share: a mean over labeled points, overall and per keypoint, exact across processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn import Module
from torchmetrics import Metric

from softpoint.metrics.batch import check_scale

# float32 sums drift over a long epoch; Apple's GPUs have nothing better, and refuse float64 states.
_SUM_DTYPE = torch.float32 if torch.backends.mps.is_available() else torch.float64


class PointMean(Metric):
    """Sums a value per labeled point; a subclass's `update` says which value.

    `compute()` is the mean over the labeled points of all processes, each point weighing the same, and NaN
    (without a warning) when there is none: a split that measured nothing is not a perfect one. A prediction
    that is not finite makes an error metric not finite either, so that divergence stays visible.
    """

    is_differentiable = False
    full_state_update = False  # a batch's sums add to the epoch's: `forward` need not update twice

    total: Float[Tensor, " K"]
    labeled: Int[Tensor, " K"]

    def __init__(self, num_keypoints: int) -> None:
        super().__init__()
        if num_keypoints < 1:
            raise ValueError(f"num_keypoints must be at least 1, got {num_keypoints}")
        self.num_keypoints = num_keypoints
        self.add_state("total", torch.zeros(num_keypoints, dtype=_SUM_DTYPE), dist_reduce_fx="sum")
        self.add_state("labeled", torch.zeros(num_keypoints, dtype=torch.long), dist_reduce_fx="sum")

    @property
    def update_called(self) -> bool:
        """Always True: empty sums are a valid state, so torchmetrics need not warn about `compute`."""
        return True

    def compute(self) -> Float[Tensor, ""]:
        """Mean over the labeled points of every keypoint; NaN when there is none."""
        return self._checked_total().sum() / self.labeled.sum()

    def per_keypoint(self) -> Float[Tensor, " K"]:
        """Mean of each keypoint, NaN for one never labeled; like `compute`, call it on every process."""
        with self.sync_context(should_sync=self._to_sync):
            return self._checked_total() / self.labeled

    def count(self) -> Int[Tensor, " K"]:
        """How many labeled points of each keypoint entered; like `compute`, call it on every process."""
        with self.sync_context(should_sync=self._to_sync):
            return self.labeled.clone()

    def _accumulate(self, values: Shaped[Tensor, "B K"], mask: Bool[Tensor, "B K"]) -> None:
        """Add values (hits or lengths) that are 0 where the mask is False."""
        if mask.shape[1] != self.num_keypoints:  # one keypoint would broadcast over all without a word
            raise ValueError(
                f"the batch has {mask.shape[1]} keypoints but {type(self).__name__} was built for "
                f"{self.num_keypoints}; set num_keypoints to the data's"
            )
        self.total = self.total + values.detach().to(self.total.dtype).sum(dim=0)
        self.labeled = self.labeled + mask.sum(dim=0)

    def _checked_total(self) -> Float[Tensor, " K"]:
        return self.total

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Module:
        """Follow a module to another device but not to another precision, which would round the sums."""
        return super()._apply(lambda state: state.to(fn(state.new_empty(0)).device), exclude_state)


class ScaledPointMean(PointMean):
    """A mean of values measured by each sample's scale, a length in pixels.

    A scale that is not positive and finite on a sample with labeled points raises ValueError, from `compute`
    and `per_keypoint`: in `update` the look at it would make the host wait for the device every batch.
    """

    smallest_scale: Float[Tensor, ""]
    largest_scale: Float[Tensor, ""]

    def __init__(self, num_keypoints: int) -> None:
        super().__init__(num_keypoints)
        self.add_state("smallest_scale", torch.tensor(math.inf), dist_reduce_fx="min")
        self.add_state("largest_scale", torch.tensor(-math.inf), dist_reduce_fx="max")

    def _remember(self, scale: Float[Tensor, " B"], mask: Bool[Tensor, "B K"]) -> None:
        """Keep the extremes of the labeled samples' scales; minimum and maximum carry a NaN along."""
        labeled, scale = mask.any(dim=1), scale.to(self.smallest_scale.dtype)
        low, high = scale.where(labeled, math.inf), scale.where(labeled, -math.inf)
        self.smallest_scale = torch.cat([self.smallest_scale[None], low]).amin()
        self.largest_scale = torch.cat([self.largest_scale[None], high]).amax()

    def _checked_total(self) -> Float[Tensor, " K"]:
        if self.labeled.any():
            check_scale(self.smallest_scale.item())
            check_scale(self.largest_scale.item())
        return super()._checked_total()
