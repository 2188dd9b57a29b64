"""Losses per keypoint, and the one masked mean that reduces them.

Heatmap and axis losses compare logits with a target distribution over the same cells and return one number per map, in
nats. Cross-entropy and KL differ by the entropy of the target: the same gradient, another floor. KL is the one to log,
because its minimum is 0. Coordinate losses take (x, y) and return one number per point. Half precision is computed in
float32.

A loss of your own: a function in one of these files, and a YAML in `configs/loss/` whose `_target_` is its path.
"""
