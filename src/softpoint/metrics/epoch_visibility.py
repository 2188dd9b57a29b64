"""Scores of predicted visibility over an epoch, apart from `visibility`: torchmetrics takes seconds to import."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from softpoint.metrics.visibility import visibility_scores


class VisibilityScores(Metric):
    """`visibility_scores` of all points of all processes, which it keeps until the epoch's end at 16 bytes a point.

    >>> metric = VisibilityScores(num_keypoints=1)
    >>> metric.compute()
    {}
    >>> metric.update(torch.tensor([[[2.0, 0, 0]], [[0.0, 3, 0]]]), torch.tensor([[0], [1]]))
    >>> metric.compute()["balanced_accuracy"].item()
    1.0
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False  # a batch's points join the epoch's: `forward` need not update twice

    points: Any

    def __init__(self, num_keypoints: int) -> None:
        super().__init__()
        if num_keypoints < 1:
            raise ValueError(f"num_keypoints must be at least 1, got {num_keypoints}")
        self.num_keypoints = num_keypoints
        # Flat, because that is how torchmetrics stands in for a process that has measured nothing.
        self.add_state("points", [], dist_reduce_fx="cat")

    @property
    def update_called(self) -> bool:
        """Always True: no points are a valid state, so torchmetrics need not warn about `compute`."""
        return True

    def update(self, logits: Float[Tensor, "B K 3"], target: Integer[Tensor, "B K"]) -> None:
        """Add a batch: logits of (absent, occluded, visible), and 0, 1 or 2; -1 where the truth is not known."""
        if target.shape[1] != self.num_keypoints:  # points are kept in one row, which any number would fit
            raise ValueError(
                f"the batch has {target.shape[1]} keypoints but VisibilityScores was built for "
                f"{self.num_keypoints}; set num_keypoints to the data's"
            )
        rows = torch.cat((logits.detach().float(), target[..., None].float()), -1)
        self.points.append(rows.flatten())

    def compute(self) -> dict[str, Tensor]:
        """The scores that can be measured: none of a state that does not occur, nothing of an empty epoch."""
        if isinstance(self.points, list) and not self.points:
            return {}
        rows = dim_zero_cat(self.points).view(-1, self.num_keypoints, 4)
        return visibility_scores(rows[..., :3], rows[..., 3].long())
