"""The error to expect of a prediction, by its calibration."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy.special import ellipe

from softpoint.layers.calibration import TAIL

# Of the subject's size: the error from which on a point is lost, so that more makes its image no more useful; and that
# of a point where there is none, or of none where there is one.
LOST = 0.25


def expected_distance(scale: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return the mean length of an error of Student's t-distribution with `TAIL` degrees of freedom about 0.

    `scale` (...) is that of the distribution, `covariance` (..., 2, 2) gives its shape. A Gaussian of variances a >= b
    has the mean length sqrt(2 a / pi) E(1 - b / a), E being the complete elliptic integral of the second kind; the
    t-distribution divides its vector by an independent number.

    >>> round(float(expected_distance(np.array(2.0), np.eye(2))) / 2, 6) == round(3**0.5, 6)
    True
    """
    xx, xy, yy = covariance[..., 0, 0], covariance[..., 0, 1], covariance[..., 1, 1]
    middle, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    long, short = middle + half, (middle - half).clip(1e-12)
    gaussian = np.sqrt(2 / np.pi * np.sqrt(long / short)) * ellipe(1 - short / long)
    heavier = math.sqrt(TAIL / 2) * math.gamma((TAIL - 1) / 2) / math.gamma(TAIL / 2)
    return np.asarray(scale * heavier * gaussian)


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
