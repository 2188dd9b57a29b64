"""Keypoints and heatmaps drawn on images, which are uint8 RGB arrays (H, W, 3), and the style of charts."""

from softpoint.colors import palette
from softpoint.viz.explain import attention_panel, confidence_parts, heatmap_panels, weight_bars
from softpoint.viz.grid import contact_sheet, crop_around, draw_tile, legend
from softpoint.viz.heatmap import blend_heatmap, colorize, heatmap_row
from softpoint.viz.image_ops import write_image
from softpoint.viz.overlay import draw_keypoints, draw_subjects
from softpoint.viz.subjects import draw_found

__all__ = [
    "attention_panel", "blend_heatmap", "colorize", "confidence_parts", "contact_sheet", "crop_around",
    "draw_found", "draw_keypoints", "draw_subjects", "draw_tile", "heatmap_panels", "heatmap_row", "legend", "palette",
    "weight_bars", "write_image",
]  # fmt: skip
