"""Keypoint metrics in original pixels: functions of points, the table that names them, and their shells for epochs."""

from softpoint.metrics.calibration import expected_calibration_error, rank_correlation
from softpoint.metrics.columns import COLUMNS, Column
from softpoint.metrics.functional import PointArrays, Points
from softpoint.metrics.point_means import PointMeans
from softpoint.metrics.visibility import VisibilityScores, visibility_scores

__all__ = [
    "COLUMNS", "Column", "PointArrays", "PointMeans", "Points", "VisibilityScores", "expected_calibration_error",
    "rank_correlation", "visibility_scores",
]  # fmt: skip
