"""The mean length of an error, by the calibration of its prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import scipy

from softpoint.layers.calibration import TAIL


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
    gaussian = np.sqrt(2 / np.pi * np.sqrt(long / short)) * scipy.special.ellipe(1 - short / long)
    heavier = math.sqrt(TAIL / 2) * math.gamma((TAIL - 1) / 2) / math.gamma(TAIL / 2)
    return np.asarray(scale * heavier * gaussian)


def with_expected_error(prediction: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a prediction that explains its confidence, with the `expected_error` (..., K) of its points in px."""
    expected = expected_distance(prediction["error_scale"], prediction["covariance"])
    return {**prediction, "expected_error": expected}
