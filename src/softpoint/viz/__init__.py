"""Images of keypoints and heatmaps, as uint8 RGB arrays (H, W, 3)."""

from softpoint.viz.chart import line_chart
from softpoint.viz.colors import palette
from softpoint.viz.grid import contact_sheet
from softpoint.viz.heatmap import blend_heatmap, colorize, heatmap_row
from softpoint.viz.overlay import draw_keypoints, draw_subjects

__all__ = [
    "blend_heatmap",
    "colorize",
    "contact_sheet",
    "draw_keypoints",
    "draw_subjects",
    "heatmap_row",
    "line_chart",
    "palette",
]
