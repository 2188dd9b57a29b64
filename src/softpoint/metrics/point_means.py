"""The metrics of a validation epoch: means over labeled points, exact across batches and processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric

from softpoint.metrics.columns import COLUMNS
from softpoint.metrics.functional import Points

# float32 sums drift over a long epoch; Apple's GPUs have nothing better, and refuse float64 states.
_SUM_DTYPE = torch.float32 if torch.backends.mps.is_available() else torch.float64


class PointMeans(Metric):
    """Every logged column of the table over the labeled points of all batches of all processes.

    Each point weighs the same. Without a labeled point a mean is NaN: a split that measured nothing is not perfect.
    A prediction that is not finite makes an error metric not finite, so that divergence stays visible.

    >>> from softpoint.metrics import PointArrays
    >>> metric, truth = PointMeans(num_keypoints=2), np.array([[[3.0, 4.0], [np.nan, np.nan]]])
    >>> metric.update(PointArrays(np.zeros((1, 2, 2)), truth, np.ones((1, 2)), np.ones((1, 2, 2, 2)),
    ...                           scale=np.array([50.0]), size=np.array([[30, 40]])))
    >>> values = metric.compute()
    >>> values["epe"].item(), values["pck@0.05"].item(), values["pck@0.1"].item()
    (5.0, 0.0, 1.0)
    """

    is_differentiable = False
    full_state_update = False  # a batch's sums add to the epoch's: `forward` need not update twice

    total: Float[Tensor, "M K"]
    count: Int[Tensor, "M K"]

    def __init__(self, num_keypoints: int) -> None:
        super().__init__()
        if num_keypoints < 1:
            raise ValueError(f"num_keypoints must be at least 1, got {num_keypoints}")
        self.columns = [column for column in COLUMNS.values() if column.logged]
        self.num_keypoints = num_keypoints
        self.by_keypoint: dict[str, Tensor] = {}
        self.points_by_keypoint = torch.zeros(num_keypoints, dtype=torch.long)
        sums = torch.zeros(len(self.columns), num_keypoints, dtype=_SUM_DTYPE)
        self.add_state("total", sums, dist_reduce_fx="sum")
        self.add_state("count", torch.zeros_like(sums, dtype=torch.long), dist_reduce_fx="sum")

    @property
    def update_called(self) -> bool:
        """Always True: empty sums are a valid state, so torchmetrics need not warn about `compute`."""
        return True

    def update(self, points: Points) -> None:
        """Add a batch in original pixels, with NaN as the label of unlabeled points."""
        labeled = np.isfinite(points.truth).all(-1)
        if labeled.shape[1] != self.num_keypoints:  # a single keypoint would broadcast to all without an error
            raise ValueError(
                f"the batch has {labeled.shape[1]} keypoints but PointMeans was built for {self.num_keypoints};"
                " set num_keypoints to the data's"
            )
        values = np.stack([column.values(points) for column in self.columns if column.values is not None])
        # A finite prediction without a value is not measured, as where a subject's scale is 0.
        measured = labeled & ~(np.isnan(values) & np.isfinite(points.keypoints).all(-1))
        self.total = self.total + torch.from_numpy(np.where(measured, values, 0).sum(1)).to(self.total)
        self.count = self.count + torch.from_numpy(measured.sum(1)).to(self.count)

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        """Mean of each logged column over the points of all keypoints that it measures, by name.

        Sets `by_keypoint` to the means (K,) of each keypoint, NaN for one without points, by name of the column, and
        `points_by_keypoint` (K,) to the number of its labeled points.
        """
        self.points_by_keypoint = self.count.amax(0)
        rows = zip(self.columns, self.total / self.count, strict=True)
        self.by_keypoint = {column.name: means for column, means in rows}
        means = self.total.sum(1) / self.count.sum(1)
        return {column.name: mean for column, mean in zip(self.columns, means, strict=True)}

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Any:
        """Follow a module to another device but not to another precision, which would round the sums."""
        return super()._apply(lambda state: state.to(fn(state.new_empty(0)).device), exclude_state)
