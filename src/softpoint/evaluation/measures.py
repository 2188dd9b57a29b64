"""What is measured of each labeled point, and how it is called.

Most numbers are means over points of something that each point has; median and p95 are quantiles of the errors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from softpoint.evaluation.results import Results
from softpoint.labels.skeleton import Skeleton

PIXELS, FRACTIONS, AUC_END = (5, 10), (0.05, 0.1, 0.2), 0.2
QUANTILES = {"median": 0.5, "p95": 0.95}

_SCALE = "scale (the diagonal of its box: the labels' box, else that about its labeled points, else the image)"
# What each number is, for the output; all over labeled points, hidden ones included.
DEFINITIONS = {
    "epe": "mean Euclidean error in original pixels",
    "median": "median Euclidean error in original pixels",
    "p95": "95th percentile of the Euclidean error in original pixels",
    **{f"pck@{p}px": f"share of points at most {p} original pixels off" for p in PIXELS},
    **{f"pck@{a:g}": f"share of points at most {a:g} of the subject's {_SCALE} off" for a in FRACTIONS},
    "auc": f"area under PCK over thresholds from 0 to {AUC_END} of the scale, as a share of the whole",
    "nme_box": "mean of error / sqrt(width x height) of the subject's box: the labels' box, else that about its"
    " labeled points",
    "nme_diagonal": "mean of error / diagonal of the image",
    "nme_pair": "mean of error / distance between the two labeled points of the pair",
    "oks_ap": "COCO's average precision over OKS from 0.50 to 0.95, one detection a subject scored by mean confidence",
    "oks_ap50": "COCO's average precision at OKS 0.50",
    "oks_ap75": "COCO's average precision at OKS 0.75",
    "oks_ar": "COCO's average recall over OKS from 0.50 to 0.95",
    "ece": "expected calibration error of the confidence as the probability of an error up to a fraction of the scale:"
    " confidence_fraction, or 0.05 where that is not said",
    "coverage_50": "share of points inside the 50 % ellipse of their covariance",
    "coverage_90": "share of points inside the 90 % ellipse of their covariance",
    "rank_correlation": "Spearman's correlation of predicted and real error",
}
# What a share should be, neither less nor more.
LEVELS = {"coverage_50": 0.5, "coverage_90": 0.9}
# In which a smaller value is the better one.
LOWER = frozenset({"epe", "median", "p95", "nme_box", "nme_diagonal", "nme_pair", "ece"})


def point_measures(results: Results, nme_pair: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """What each number is the mean of: arrays (N, K), NaN for points that it is not measured on.

    `median` and `p95` are there too, as the errors that they are quantiles of. Sagonas et al., 2013, divide errors
    by a length of the face; sqrt(width x height) of its box is usual since Bulat and Tzimiropoulos, 2017.
    Raises ValueError for a pair that names no two keypoints.
    """
    errors = results.errors
    relative = errors / results.scale[:, None]
    found = dict.fromkeys(("epe", *QUANTILES), errors)
    found |= {f"pck@{limit}px": _within(errors, limit) for limit in PIXELS}
    found |= {f"pck@{share:g}": _within(relative, share) for share in FRACTIONS}
    found["auc"] = np.clip(1 - relative / AUC_END, 0, None)
    found["nme_box"] = errors / np.sqrt(_positive(box_areas(results)))[:, None]
    found["nme_diagonal"] = errors / np.hypot(*results.size.T)[:, None]
    if nme_pair is not None:
        first, second = find_pair(nme_pair, results.skeleton)
        lengths = np.linalg.norm(results.truth[:, first] - results.truth[:, second], axis=1)
        found["nme_pair"] = errors / _positive(lengths)[:, None]
    return found


def summarize(name: str, values: np.ndarray) -> float | None:
    """The number called `name` of point values of any shape; None where no point has one.

    >>> summarize("epe", np.array([1.0, np.nan, 3.0, 8.0])), summarize("median", np.array([1.0, np.nan, 3.0, 8.0]))
    (4.0, 3.0)
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    return float(np.quantile(known, QUANTILES[name]) if name in QUANTILES else known.mean())


def box_areas(results: Results) -> np.ndarray:
    """Width x height (N,) in px^2 of each subject's box: the labels' own, else that about its labeled points."""
    areas = _extent(results).prod(1)
    if results.boxes is None:
        return areas
    own = (results.boxes[:, 2:] - results.boxes[:, :2]).prod(1)
    return np.where(np.isfinite(own), own, areas)


def scaled_by_image(results: Results) -> np.ndarray:
    """Which labeled subjects (N,) have the diagonal of their image as scale, for want of anything of their own."""
    own = np.zeros(len(results), bool) if results.boxes is None else np.isfinite(results.boxes).all(-1)
    apart = (_extent(results) > 0).any(-1)
    return results.labeled.any(-1) & ~own & ~apart & np.isclose(results.scale, np.hypot(*results.size.T))


def _extent(results: Results) -> np.ndarray:
    """Width and height (N, 2) of the box about each subject's labeled points; NaN where there are none."""
    known = np.isfinite(results.truth)
    low = np.where(known, results.truth, np.inf).min(1, initial=np.inf)
    high = np.where(known, results.truth, -np.inf).max(1, initial=-np.inf)
    return np.where(known.any((1, 2))[:, None], (high - low).clip(min=0), np.nan)


def find_pair(pair: Sequence[str], skeleton: Skeleton) -> tuple[int, int]:
    """Which two keypoints `nme_pair` names; ValueError, with a suggestion, where they are not two.

    >>> find_pair(["nose", "tail"], Skeleton(("tail", "nose")))
    (1, 0)
    """
    if isinstance(pair, str) or len(pair) != 2 or pair[0] == pair[1]:
        raise ValueError(f"nme_pair={pair} must name two keypoints, such as [left_eye,right_eye]")
    first, second = (skeleton.index(name, f"nme_pair={list(pair)}") for name in pair)
    return first, second


def _within(values: np.ndarray, limit: float) -> np.ndarray:
    """1 where a value is at most the limit and 0 where it is not; NaN stays."""
    return np.where(np.isfinite(values), values <= limit, np.nan)


def _positive(lengths: np.ndarray) -> np.ndarray:
    """NaN in place of what nothing can be divided by."""
    return np.where(lengths > 0, lengths, np.nan)
