"""Scores of predicted visibility (absent, occluded, visible), where nearly all keypoints are visible.

Plain accuracy is high for the constant prediction "visible". These scores are not: a mean of recalls, and areas under
curves (ROC and precision-recall) within each keypoint, so that a constant prediction per keypoint is at chance.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc, binary_average_precision
from torchmetrics.utilities import dim_zero_cat


def visibility_scores(logits: Float[Tensor, "B K 3"], target: Integer[Tensor, "B K"]) -> dict[str, Tensor]:
    """Scores in [0, 1] of the logits of (absent, occluded, visible) against 0, 1 or 2; -1 is left out.

    `balanced_accuracy`: mean recall of the states that occur. `absent_auroc` and `absent_ap`: absent against
    present. `occluded_auroc` and `occluded_ap`: occluded against visible, over the points that are present.
    The last four are means over the keypoints that occur in both ways. Chance is 0.5 for an AUROC, the share of the
    rarer state for an AP (average precision). What cannot be measured is not in the answer.

    >>> logits = torch.tensor([[[2.0, 0, 0]], [[0.0, 3, 0]], [[0.0, 0, 4]], [[0.0, 5, 0]]])
    >>> scores = visibility_scores(logits, torch.tensor([[0], [1], [2], [2]]))
    >>> {name: round(score.item(), 3) for name, score in scores.items()}
    {'balanced_accuracy': 0.833, 'absent_auroc': 1.0, 'absent_ap': 1.0, 'occluded_auroc': 0.5, 'occluded_ap': 0.5}
    """
    logits, known = logits.float(), target >= 0
    answer = logits.argmax(-1)
    recalls = [(answer == state)[target == state].float().mean() for state in torch.unique(target[known])]
    scores = {"balanced_accuracy": torch.stack(recalls).mean()} if len(recalls) > 1 else {}
    # As probabilities, because torchmetrics takes anything outside [0, 1] for logits.
    absent, occluded = logits.softmax(-1)[..., 0], (logits[..., 1] - logits[..., 2]).sigmoid()
    scores |= _ranking("absent", absent, target == 0, known)
    return scores | _ranking("occluded", occluded, target == 1, target > 0)


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


def _ranking(
    name: str, score: Float[Tensor, "B K"], positive: Bool[Tensor, "B K"], kept: Bool[Tensor, "B K"]
) -> dict[str, Tensor]:
    """Mean area under both curves over the keypoints with kept points of either kind; empty without one."""
    areas = []
    for k in range(score.shape[1]):
        values, truth = score[kept[:, k], k], positive[kept[:, k], k].long()
        if truth.any() and not truth.all():
            areas.append(torch.stack([measure(values, truth) for measure in (binary_auroc, binary_average_precision)]))
    if not areas:
        return {}
    auroc, precision = torch.stack(areas).mean(0)
    return {f"{name}_auroc": auroc, f"{name}_ap": precision}
