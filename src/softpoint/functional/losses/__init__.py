"""Losses per keypoint, and the one masked mean that reduces them.

Heatmap and axis losses compare logits with a target distribution over the same cells and return one number per
map, in nats. Cross-entropy and KL differ by the entropy of the target: the same gradient, another floor. KL is the
one to log, because its minimum is 0. Coordinate losses take (x, y) and return one number per point. Half precision is
computed in float32.

A loss of your own: a function in one of these files, and a YAML in `configs/loss/` whose `_target_` is its path.
"""

from softpoint.functional.losses.coordinate import (
    coordinate_huber,
    coordinate_l1,
    coordinate_l2,
    coordinate_nll,
    coordinate_wing,
)
from softpoint.functional.losses.heatmap import (
    axis_ce,
    heatmap_awing,
    heatmap_ce,
    heatmap_js,
    heatmap_kl,
    heatmap_mse,
    variance,
)
from softpoint.functional.losses.pixels import spatial_softmax_with_loss, visibility_ce
from softpoint.functional.losses.reduction import hard_keypoints, masked_mean

__all__ = [
    "axis_ce", "coordinate_huber", "coordinate_l1", "coordinate_l2", "coordinate_nll", "coordinate_wing",
    "hard_keypoints", "heatmap_awing", "heatmap_ce", "heatmap_js", "heatmap_kl", "heatmap_mse", "masked_mean",
    "spatial_softmax_with_loss", "variance", "visibility_ce",
]  # fmt: skip
