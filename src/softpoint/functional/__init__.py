"""Pure tensor functions: they need torch alone and hold no state."""

from softpoint.functional.attention import channel_statistics, gate
from softpoint.functional.coordinates import (
    grid_to_image,
    image_to_grid,
    transform_covariance,
    transform_points,
)
from softpoint.functional.gaussian import render_gaussians
from softpoint.functional.losses import (
    coordinate_huber,
    coordinate_l1,
    coordinate_l2,
    coordinate_wing,
    heatmap_ce,
    heatmap_js,
    heatmap_kl,
    heatmap_mse,
    masked_mean,
    spatial_softmax_with_loss,
    variance,
    visibility_ce,
)
from softpoint.functional.spatial import (
    axis_softmax,
    entropy,
    information_content,
    soft_argmax,
    spatial_covariance,
    spatial_expectation,
    spatial_softmax,
)
from softpoint.functional.window import window_expectation, window_mass

__all__ = [
    "axis_softmax", "channel_statistics", "coordinate_huber", "coordinate_l1", "coordinate_l2",
    "coordinate_wing", "entropy", "gate", "grid_to_image", "heatmap_ce", "heatmap_js", "heatmap_kl",
    "heatmap_mse", "image_to_grid", "information_content", "masked_mean", "render_gaussians",
    "soft_argmax", "spatial_covariance", "spatial_expectation", "spatial_softmax",
    "spatial_softmax_with_loss", "transform_covariance", "transform_points", "variance",
    "visibility_ce", "window_expectation", "window_mass",
]  # fmt: skip
