"""Keypoint metrics in original pixels: functions of points, and the table that names them.

Their shells for epochs, `point_means` and `epoch_visibility`, are for trainings alone.
"""

from softpoint.metrics.calibration import expected_calibration_error, rank_correlation
from softpoint.metrics.columns import COLUMNS, Column
from softpoint.metrics.functional import PointArrays, Points
from softpoint.metrics.visibility import visibility_scores

__all__ = [
    "COLUMNS", "Column", "PointArrays", "Points", "expected_calibration_error", "rank_correlation",
    "visibility_scores",
]  # fmt: skip
