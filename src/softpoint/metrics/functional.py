"""Metrics as functions of points: each returns one value per point, (N, K) float64.

A value is NaN where the point is not measured: it is unlabeled, or the length that its error is divided by is not
positive. All lengths are in pixels of the ORIGINAL images.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Points(Protocol):
    """Predictions and labels of N subjects with K keypoints, in pixels of their original images."""

    @property
    def keypoints(self) -> np.ndarray: ...  # (N, K, 2), predicted
    @property
    def truth(self) -> np.ndarray: ...  # (N, K, 2), NaN where unlabeled
    @property
    def confidence(self) -> np.ndarray: ...  # (N, K)
    @property
    def covariance(self) -> np.ndarray: ...  # (N, K, 2, 2) in px^2
    @property
    def scale(self) -> np.ndarray: ...  # (N,), the length that PCK and NME divide by
    @property
    def size(self) -> np.ndarray: ...  # (N, 2), height and width of the image
    @property
    def boxes(self) -> np.ndarray | None: ...  # (N, 4) left, top, right, bottom; NaN for none
    @property
    def visibility(
        self,
    ) -> np.ndarray | None: ...  # (N, K) of the labels: 0 unlabeled, 1 occluded, 2 visible, -1 absent
    @property
    def predicted_visibility(self) -> np.ndarray | None: ...  # (N, K, 3), probabilities of absent, occluded, visible


class PointArrays(NamedTuple):
    """Points as plain arrays, such as those of one validation batch."""

    keypoints: np.ndarray
    truth: np.ndarray
    confidence: np.ndarray
    covariance: np.ndarray
    scale: np.ndarray
    size: np.ndarray
    boxes: np.ndarray | None = None
    visibility: np.ndarray | None = None
    predicted_visibility: np.ndarray | None = None


def distances(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Euclidean distances (...) of points (..., 2)."""
    result: np.ndarray = np.linalg.norm(predicted - truth, axis=-1)
    return result


def errors(points: Points) -> np.ndarray:
    """Euclidean distances of predictions from labels in px.

    >>> points = PointArrays(np.zeros((1, 2, 2)), np.array([[[3.0, 4.0], [np.nan, np.nan]]]), *[np.ones(1)] * 4)
    >>> errors(points).tolist()
    [[5.0, nan]]
    """
    return distances(points.keypoints, points.truth)


def assign(margins: np.ndarray) -> np.ndarray:
    """Return the labeled subject of each found one (D,), -1 for none, from their agreement (D, N).

    As in COCO's evaluator the likeliest found subject, which is the first, takes the one that it agrees with most,
    and each further one the best of those that are left.

    >>> assign(np.array([[0.1, 0.3], [-0.2, 0.4], [0.0, -0.1]])).tolist()
    [1, -1, 0]
    """
    subject = np.full(len(margins), -1)
    free = margins.copy()
    for i, margin in enumerate(free):
        if len(margin) and margin.max() >= 0:
            subject[i] = int(margin.argmax())
            free[:, subject[i]] = -np.inf
    return subject


def pose_similarity(
    pose: np.ndarray, other: np.ndarray, area: float | np.ndarray, sigma: float | np.ndarray
) -> np.ndarray:
    """Object keypoint similarity (...) of poses (..., K, 2) of subjects of `area` (...) px^2, over keypoints of both.

    `sigma` (K,) is the spread of each keypoint as a fraction of the square root of the area, as COCO has it. 0 where no
    keypoint is in both.

    >>> pose = np.array([[0.0, 0.0], [4.0, np.nan]])
    >>> pose_similarity(pose, pose + [2.0, 0.0], area=100.0, sigma=0.1).round(3)
    np.float64(0.607)
    """
    spread = 2 * np.asarray(area)[..., None] * (2 * np.asarray(sigma)) ** 2
    exponent = np.square(pose - other).sum(-1) / (spread + np.spacing(1))
    known = np.isfinite(exponent)
    sums = np.where(known, np.exp(-np.where(known, exponent, 0)), 0).sum(-1)
    return np.asarray(sums / known.sum(-1).clip(1))


def nme(points: Points) -> np.ndarray:
    """Errors as fractions of each subject's scale (Sagonas et al., 300 Faces in-the-Wild Challenge, 2013)."""
    return _divided(errors(points), points.scale)


def nme_box(points: Points) -> np.ndarray:
    """Errors over sqrt(width x height) of the subject's box (Bulat and Tzimiropoulos, arXiv:1703.07332)."""
    return _divided(errors(points), np.sqrt(box_areas(points)))


def nme_diagonal(points: Points) -> np.ndarray:
    """Errors over the diagonal of the image."""
    return _divided(errors(points), np.hypot(*np.asarray(points.size).T))


def nme_pair(points: Points, first: int, second: int) -> np.ndarray:
    """Errors over the labeled distance of two keypoints of the subject, such as the eyes."""
    return _divided(errors(points), np.linalg.norm(points.truth[:, first] - points.truth[:, second], axis=-1))


def pck(points: Points, alpha: float) -> np.ndarray:
    """1 for a point within `alpha` of its subject's scale, the limit included, else 0; a NaN prediction is a miss.

    (Yang and Ramanan, Articulated Human Detection with Flexible Mixtures of Parts, 2013.)
    """
    return _within(points, alpha * points.scale)


def pck_pixels(points: Points, limit: float) -> np.ndarray:
    """1 for a point within `limit` px, the limit included, else 0; a NaN prediction is a miss."""
    return _within(points, np.full(len(points.truth), limit))


def auc(points: Points, end: float) -> np.ndarray:
    """Area under a point's PCK over thresholds from 0 to `end`, as a fraction of the whole."""
    return np.clip(1 - nme(points) / end, 0, None)


def coverage(points: Points, level: float) -> np.ndarray:
    """1 for a label inside the ellipse that holds the probability `level` of the predicted Gaussian, else 0."""
    squared = squared_mahalanobis(points.keypoints - points.truth, points.covariance)
    measured = np.isfinite(errors(points)) & np.isfinite(points.covariance).all((-1, -2))
    return np.where(measured, squared <= ellipse_radius(level) ** 2, np.nan)


def ellipse_radius(level: float) -> float:
    """Mahalanobis radius of the ellipse that holds the probability `level` of a 2-D Gaussian.

    >>> round(ellipse_radius(0.5) ** 2, 3), round(ellipse_radius(0.9) ** 2, 3)
    (1.386, 4.605)
    """
    return float(np.sqrt(-2 * np.log1p(-level)))


def squared_mahalanobis(error: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """e^T C^-1 e of errors (..., 2) and covariances (..., 2, 2); infinite where C is singular and e is not 0."""
    x, y = error[..., 0], error[..., 1]
    xx, xy, yy = covariance[..., 0, 0], covariance[..., 0, 1], covariance[..., 1, 1]
    above, below = x * x * yy - 2 * x * y * xy + y * y * xx, xx * yy - xy * xy
    regular = (below > 0) & np.isfinite(below)
    return np.where(regular, above / np.where(regular, below, 1), np.where((x == 0) & (y == 0), 0, np.inf))


def box_areas(points: Points) -> np.ndarray:
    """Areas (N,) in px^2 of the subjects' boxes: the labels' own, else that around the labeled points."""
    areas: np.ndarray = label_extents(points).prod(1)
    if points.boxes is None:
        return areas
    own = (points.boxes[:, 2:] - points.boxes[:, :2]).prod(1)
    return np.where(np.isfinite(own), own, areas)


def label_extents(points: Points) -> np.ndarray:
    """Width and height (N, 2) of the box around each subject's labeled points; NaN where there are none."""
    labeled = np.isfinite(points.truth)
    low = np.where(labeled, points.truth, np.inf).min(1, initial=np.inf)
    high = np.where(labeled, points.truth, -np.inf).max(1, initial=-np.inf)
    return np.where(labeled.any((1, 2))[:, None], (high - low).clip(min=0), np.nan)


def _within(points: Points, limits: np.ndarray) -> np.ndarray:
    """1 for a point whose error is at most its subject's limit (N,), else 0."""
    measured = np.isfinite(points.truth).all(-1) & np.isfinite(_positive(limits))
    return np.where(measured, errors(points) <= limits[:, None], np.nan)


def _divided(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The values (N, K) over each subject's length (N,)."""
    quotients: np.ndarray = values / _positive(lengths)
    return quotients


def _positive(lengths: np.ndarray) -> np.ndarray:
    """The lengths as a column (N, 1); NaN for one that nothing can be divided by."""
    return np.where((lengths > 0) & np.isfinite(lengths), lengths, np.nan)[:, None]
