"""Pure tensor functions: they need torch alone and hold no state."""

from softpoint.functional.attention import channel_statistics, gate
from softpoint.functional.centers import boxes_l1, center_targets, centers_ce, find_centers, in_boxes
from softpoint.functional.coordinates import (
    grid_to_image,
    image_to_grid,
    pixel_length,
    transform_covariance,
    transform_points,
)
from softpoint.functional.decode import decode_heatmap
from softpoint.functional.gaussian import gaussian_axis, render_gaussians
from softpoint.functional.gaussian_fit import window_expectation, window_mass
from softpoint.functional.heatmap_sets import heatmap_set, tail_mass, tail_mass_at
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
    heatmap_margin,
    heatmap_mse,
    heatmap_transport,
    variance,
)
from softpoint.functional.losses.pixels import spatial_softmax_with_loss, visibility_ce
from softpoint.functional.losses.reduction import hard_keypoints, masked_mean
from softpoint.functional.map_statistics import map_statistics
from softpoint.functional.soft_argmax import soft_argmax
from softpoint.functional.spatial import (
    axis_softmax,
    entropy,
    information_content,
    spatial_covariance,
    spatial_expectation,
    spatial_softmax,
)
from softpoint.functional.targets import bilinear_axis, disc_classes, nearest_axis, render_target

__all__ = [
    "axis_ce", "axis_softmax", "bilinear_axis", "boxes_l1", "center_targets", "centers_ce", "channel_statistics",
    "coordinate_huber", "coordinate_l1", "coordinate_l2", "coordinate_nll", "coordinate_wing", "decode_heatmap",
    "disc_classes", "entropy", "find_centers", "gate", "gaussian_axis", "grid_to_image", "hard_keypoints",
    "heatmap_awing", "heatmap_ce", "heatmap_js", "heatmap_kl", "heatmap_margin", "heatmap_mse", "heatmap_set",
    "heatmap_transport", "image_to_grid", "in_boxes", "information_content", "map_statistics", "masked_mean",
    "nearest_axis", "pixel_length", "render_gaussians", "render_target", "soft_argmax", "spatial_covariance",
    "spatial_expectation", "spatial_softmax", "spatial_softmax_with_loss", "tail_mass", "tail_mass_at",
    "transform_covariance", "transform_points", "variance", "visibility_ce", "window_expectation", "window_mass",
]  # fmt: skip
