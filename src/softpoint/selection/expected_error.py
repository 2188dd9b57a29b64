"""The error to expect of a prediction, by its calibration."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from softpoint.inference.expected_distance import expected_distance

# Of the subject's size: the error from which on a point is lost, so that more makes its image no more useful; and that
# of a point where there is none, or of none where there is one.
LOST = 0.25


def expected_errors(prediction: Mapping[str, np.ndarray], fraction: float) -> np.ndarray:
    """Return the expected error (..., K) in px of a prediction that explains its confidence.

    It is at most that of a lost point, and that of the better answer, a point or none, where a wrong one of the two
    costs as much as a lost point: a keypoint that is surely not in the image costs nothing, and one that may be or not
    half of that. `fraction` is that of the subject's size within which a confidence is the probability of the point.
    """
    lost = LOST * prediction["radius"] / fraction
    distance = np.minimum(expected_distance(prediction["error_scale"], prediction["covariance"]), lost)
    inside = prediction["in_image"]
    return np.asarray(np.minimum(inside * distance + (1 - inside) * lost, inside * lost))
