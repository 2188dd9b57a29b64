"""Predicted and labeled keypoints drawn on their image."""

from __future__ import annotations

import numpy as np

from softpoint.functional.coordinates import grid_to_image
from softpoint.labels.skeleton import Skeleton
from softpoint.viz.colors import palette
from softpoint.viz.image_ops import check_image, enlarge
from softpoint.viz.label_placement import draw_labels
from softpoint.viz.marks import draw_cross, draw_disc, draw_ellipse, draw_line, draw_ring

_LEGIBLE = 900  # pixels of the longer side up to which an image is enlarged


def draw_keypoints(
    image: np.ndarray,
    keypoints: np.ndarray,
    *,
    confidence: np.ndarray | None = None,
    skeleton: Skeleton | None = None,
    truth: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    covariance: np.ndarray | None = None,
    names: bool = False,
    threshold: float = 0.5,
    sigmas: float = 2.0,
    upscale: int | None = None,
) -> np.ndarray:
    """A new image (H * upscale, W * upscale, 3) uint8 of `image` (H, W, 3) uint8 RGB with its keypoints.

    A prediction of `keypoints` (K, 2), in pixels of `image`, is a disc in its keypoint's color, or a cross
    where `confidence` (K,) is below `threshold`. A labeled point of `truth` (K, 2) is a larger open circle,
    with a line to its prediction; `mask` (K,) bool says which are labeled. `covariance` (K, 2, 2) in px²
    adds an ellipse of `sigmas` standard deviations, `skeleton` its edges, and `names` its names, or numbers
    without one. Points that are not finite are left out. `upscale` makes each pixel a square of that many; by
    default a small image grows to at most 900 pixels. Raises ValueError where shapes disagree.

    >>> image = draw_keypoints(np.zeros((64, 64, 3), np.uint8), np.array([[10.0, 20.0]]), upscale=4)
    >>> image.shape, image[82, 42].tolist() == palette(1)[0].tolist()
    ((256, 256, 3), True)
    """
    _check(image, keypoints, confidence, skeleton, truth, mask, covariance)
    if upscale is None:
        upscale = max(1, _LEGIBLE // max(image.shape[:2]))
    canvas, points = enlarge(image, upscale), grid_to_image(keypoints.astype(float), upscale)
    radius = max(3.0, 0.006 * float(np.hypot(*canvas.shape[:2])))
    colors = palette(len(points)).tolist()
    labeled = np.full(points.shape, np.nan)
    if truth is not None:
        labeled = grid_to_image(np.where(True if mask is None else mask[:, None], truth, np.nan), upscale)
    if skeleton is not None:
        _draw_edges(canvas, points, skeleton, colors, radius)
    if names:
        words = [str(i) for i in range(len(points))] if skeleton is None else skeleton.names
        anchors = np.where(np.isfinite(points).all(axis=1, keepdims=True), points, labeled)
        draw_labels(canvas, anchors, words, colors, clearance=2 * radius, others=labeled)
    if covariance is not None:
        for i in _finite(np.concatenate([points, covariance.reshape(-1, 4)], axis=1)):
            draw_ellipse(canvas, points[i], covariance[i] * upscale**2, sigmas, colors[i])
    _draw_truth(canvas, points, labeled, colors, radius)
    sure = np.ones(len(points), bool) if confidence is None else confidence >= threshold
    _draw_predictions(canvas, points, sure, colors, radius)
    return canvas


def draw_subjects(
    image: np.ndarray, found: dict[str, np.ndarray], skeleton: Skeleton, *, names: bool = False, ellipses: bool = False
) -> np.ndarray:
    """A copy of `image` (H, W, 3) with the predictions of every subject in it, as `Predictor` answers for N boxes.

    >>> found = {"keypoints": np.full((2, 1, 2), 5.0), "confidence": np.ones((2, 1))}
    >>> draw_subjects(np.zeros((64, 64, 3), np.uint8), found, Skeleton(("nose",))).shape[2]
    3
    """
    upscale = max(1, _LEGIBLE // max(image.shape[:2]))
    canvas = enlarge(image, upscale)
    for i, points in enumerate(found["keypoints"]):
        canvas = draw_keypoints(
            canvas,
            grid_to_image(points.astype(float), upscale),
            confidence=found["confidence"][i],
            covariance=found["covariance"][i] * upscale**2 if ellipses else None,
            skeleton=skeleton,
            names=names,
            upscale=1,
        )
    return canvas


def _draw_edges(
    canvas: np.ndarray, points: np.ndarray, skeleton: Skeleton, colors: list[list[int]], radius: float
) -> None:
    """Each edge in two halves, colored like the keypoint they start from."""
    for edge in skeleton.edges:
        i, j = (skeleton.index(name) for name in edge)
        middle = (points[i] + points[j]) / 2
        if np.isfinite(middle).all():
            for end in (i, j):
                draw_line(canvas, points[end], middle, colors[end], width=_width(radius))


def _draw_truth(
    canvas: np.ndarray, points: np.ndarray, truth: np.ndarray, colors: list[list[int]], radius: float
) -> None:
    for i in _finite(np.concatenate([points, truth], axis=1)):
        draw_line(canvas, truth[i], points[i], colors[i])
    for i in _finite(truth):
        draw_ring(canvas, truth[i], 1.8 * radius, colors[i], width=_width(radius))


def _draw_predictions(
    canvas: np.ndarray, points: np.ndarray, sure: np.ndarray, colors: list[list[int]], radius: float
) -> None:
    for i in _finite(points):
        if sure[i]:
            draw_disc(canvas, points[i], radius, colors[i])
        else:
            draw_cross(canvas, points[i], radius, colors[i], width=1 + _width(radius))


def _width(radius: float) -> int:
    return max(1, round(radius / 4))


def _finite(rows: np.ndarray) -> np.ndarray:
    """Which rows of (K, N) hold finite numbers only."""
    return np.flatnonzero(np.isfinite(rows).all(axis=1))


def _check(
    image: np.ndarray,
    keypoints: np.ndarray,
    confidence: np.ndarray | None,
    skeleton: Skeleton | None,
    truth: np.ndarray | None,
    mask: np.ndarray | None,
    covariance: np.ndarray | None,
) -> None:
    """Raise ValueError that quotes the shape that does not fit K keypoints."""
    check_image(image)
    K = len(keypoints)
    expected = {
        "keypoints": (keypoints, (K, 2)),
        "confidence": (confidence, (K,)),
        "truth": (truth, (K, 2)),
        "mask": (mask, (K,)),
        "covariance": (covariance, (K, 2, 2)),
    }
    for name, (array, shape) in expected.items():
        if array is not None and array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape} but {K} keypoints need {shape}")
    if skeleton is not None and len(skeleton) != K:
        raise ValueError(f"the skeleton names {len(skeleton)} keypoints but {K} are given")
