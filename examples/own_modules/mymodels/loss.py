"""A loss of your own: this function, and `loss/focal_heatmap.yaml`.

The YAML passes the function to `softpoint.training.HeatmapTerm`, which renders the target maps, masks keypoints that
are unlabeled or outside the image, and weights the result. A loss that needs more than logits and target maps is a
child of `softpoint.training.LossTerm`, with its parameters in the YAML.
"""

from __future__ import annotations

from torch import Tensor


def focal_heatmap(logits: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    """Cross-entropy of heatmaps (B, K, h, w) against target maps, less for cells that are right already: (B, K).

    A cell of probability p weighs (1 - p)^gamma. Source: Lin et al., Focal Loss for Dense Object Detection,
    arXiv:1708.02002.

    >>> import torch
    >>> focal_heatmap(torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 0.0]]]])).item()  # log(2) / 4
    0.1732...
    """
    log_p = logits.flatten(2).log_softmax(-1)
    weight = (1 - log_p.exp()) ** gamma
    return -(weight * target.flatten(2) * log_p).sum(-1)
