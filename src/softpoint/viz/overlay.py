"""Predicted and labeled keypoints drawn on their image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from softpoint.colors import palette
from softpoint.functional.coordinates import grid_to_image
from softpoint.labels.skeleton import Skeleton
from softpoint.viz.image_ops import enlarge, rgb_view
from softpoint.viz.primitives import draw_cross, draw_disc, draw_ellipse, draw_line, draw_polygon, draw_ring
from softpoint.viz.text import draw_labels

_LEGIBLE = 900  # pixels of the longer side up to which an image is enlarged


def draw_keypoints(
    image: np.ndarray,
    keypoints: np.ndarray,
    *,
    confidence: np.ndarray | None = None,
    skeleton: Skeleton | None = None,
    truth: np.ndarray | None = None,
    covariance: np.ndarray | None = None,
    names: bool = False,
    upscale: int | None = None,
    color: Sequence[int] | None = None,
) -> np.ndarray:
    """Return a copy (H * upscale, W * upscale, 3) uint8 of `image` (H, W, 3) uint8 RGB with its keypoints.

    A prediction of `keypoints` (K, 2), in pixels of `image`, is a disc in its keypoint's color, or a cross
    where `confidence` (K,) is below 0.5. A label of `truth` (K, 2) is a larger open circle, with a line
    to its prediction. `covariance` (K, 2, 2) in px² adds an ellipse of two standard deviations, `skeleton` its
    edges, and `names` its names, or indices without a skeleton. A `color` takes the place of all of these. Points that
    are not finite are left out. Each pixel becomes a square of `upscale` pixels; by default a small image grows to at
    most 900 pixels. Raises ValueError where shapes disagree.

    >>> image = draw_keypoints(np.zeros((64, 64, 3), np.uint8), np.array([[10.0, 20.0]]), upscale=4)
    >>> image.shape, image[82, 42].tolist() == palette(1)[0].tolist()
    ((256, 256, 3), True)
    """
    image = rgb_view(image)
    truth = np.full(keypoints.shape, np.nan) if truth is None else truth
    arrays = {"keypoints": keypoints, "confidence": confidence, "truth": truth, "covariance": covariance}
    _check_shapes(arrays, len(keypoints), skeleton)
    if upscale is None:
        upscale = max(1, _LEGIBLE // max(image.shape[:2]))
    canvas = enlarge(image, upscale)
    points, labeled = (grid_to_image(places.astype(float), upscale) for places in (keypoints, truth))
    radius, width = _radius(canvas)
    colors = palette(len(points)).tolist() if color is None else [list(color)] * len(points)
    if covariance is not None:
        _draw_ellipses(canvas, points, covariance * upscale**2, width, colors)
    if skeleton is not None:
        _draw_edges(canvas, points, skeleton, colors, width)
    if names:
        labels = [str(i) for i in range(len(points))] if skeleton is None else skeleton.names
        anchors = np.where(np.isfinite(points).all(axis=1, keepdims=True), points, labeled)
        draw_labels(canvas, anchors, labels, colors, clearance=2 * radius, others=labeled)
    for i in _finite(points, labeled):
        draw_line(canvas, labeled[i], points[i], colors[i])
    for i in _finite(labeled):
        draw_ring(canvas, labeled[i], 1.8 * radius, colors[i], width=width)
    for i in _finite(points):
        if confidence is None or confidence[i] >= 0.5:
            draw_disc(canvas, points[i], radius, colors[i])
        else:
            draw_cross(canvas, points[i], radius, colors[i], width=1 + width)
    return canvas


def draw_subjects(
    image: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    skeleton: Skeleton,
    *,
    names: bool = False,
    ellipses: bool = False,
    upscale: int | None = None,
    outlines: Sequence[Sequence[Sequence[np.ndarray]]] = (),
    tracks: Sequence[int] | None = None,
) -> np.ndarray:
    """Return a copy of `image` (H, W, 3) with the predictions of N subjects, as `Predictor` returns them for N boxes.

    It is enlarged as in `draw_keypoints`. The ellipses of all subjects, and the polygons (n, 2) that `outlines` has of
    each subject and keypoint, are below the names and points of all. Where subjects are of `tracks`, each has the color
    of its track, whose number from 1 is beside it; one of none, 0, is gray.

    >>> predictions = {"keypoints": np.full((2, 1, 2), 5.0), "confidence": np.ones((2, 1))}
    >>> draw_subjects(np.zeros((64, 64, 3), np.uint8), predictions, Skeleton(("nose",))).shape[2]
    3
    """
    if upscale is None:
        upscale = max(1, _LEGIBLE // max(image.shape[:2]))
    canvas = enlarge(rgb_view(image), upscale)
    places = grid_to_image(predictions["keypoints"].astype(float), upscale)
    shades = [None] * len(places) if tracks is None else [track_color(number) for number in tracks]
    parts = [
        palette(len(points)).tolist() if shade is None else [shade] * len(points)
        for points, shade in zip(places, shades, strict=True)
    ]
    for i, points in enumerate(places if ellipses else []):
        spread = predictions["covariance"][i].astype(float) * upscale**2
        _draw_ellipses(canvas, points, spread, _radius(canvas)[1], parts[i])
    for points, colors, polygons in zip(places, parts, outlines, strict=False):
        for k in _finite(points[: len(polygons)]):
            for polygon in polygons[k]:
                draw_polygon(canvas, grid_to_image(polygon, upscale), colors[k], _radius(canvas)[1])
    for i, (points, shade) in enumerate(zip(places, shades, strict=True)):
        sure = predictions["confidence"][i]
        style: dict[str, Any] = {"confidence": sure, "skeleton": skeleton, "names": names, "color": shade}
        canvas = draw_keypoints(canvas, points, upscale=1, **style)
    if tracks is not None:
        _draw_tracks(canvas, places, tracks)
    return canvas


def track_color(track: int) -> list[int]:
    """Return the RGB color of a track, from 1; gray for 0.

    >>> track_color(1) == palette(1)[0].tolist(), track_color(0)
    (True, [150, 150, 150])
    """
    return palette(128)[(track - 1) % 128].tolist() if track else [150, 150, 150]


def _draw_tracks(canvas: np.ndarray, places: np.ndarray, tracks: Sequence[int]) -> None:
    """Write the number of each track beside the first point (N, K, 2) of its subject that is finite."""
    shown = [i for i in range(len(places)) if tracks[i] and _finite(places[i])]
    if shown:
        anchors = np.stack([places[i][_finite(places[i])[0]] for i in shown])
        texts, colors = [str(tracks[i]) for i in shown], [track_color(tracks[i]) for i in shown]
        draw_labels(canvas, anchors, texts, colors, clearance=2 * _radius(canvas)[0], others=places.reshape(-1, 2))


def _radius(canvas: np.ndarray) -> tuple[float, int]:
    """Return the radius of a point, and the width of lines."""
    radius = max(3.0, 0.006 * float(np.hypot(*canvas.shape[:2])))
    return radius, max(1, round(radius / 4))


def _draw_ellipses(
    canvas: np.ndarray, points: np.ndarray, covariance: np.ndarray, width: int, colors: list[list[int]]
) -> None:
    """Draw the ellipse of each point (K, 2) that is finite."""
    for i in _finite(points, covariance.reshape(-1, 4)):
        draw_ellipse(canvas, points[i], covariance[i], colors[i], width)


def _draw_edges(
    canvas: np.ndarray, points: np.ndarray, skeleton: Skeleton, colors: list[list[int]], width: int
) -> None:
    """Draw each edge in two halves, each in the color of its keypoint."""
    for edge in skeleton.edges:
        i, j = (skeleton.index(name) for name in edge)
        middle = (points[i] + points[j]) / 2
        if np.isfinite(middle).all():
            for end in (i, j):
                draw_line(canvas, points[end], middle, colors[end], width=width)


def _finite(*arrays: np.ndarray) -> list[int]:
    """Return the indices at which the rows of all arrays (K, N) are finite."""
    return np.flatnonzero(np.isfinite(np.concatenate(arrays, axis=1)).all(axis=1)).tolist()


def _check_shapes(arrays: Mapping[str, np.ndarray | None], K: int, skeleton: Skeleton | None) -> None:
    """Raise ValueError for an array that does not fit K keypoints, with its shape."""
    shapes = {"keypoints": (K, 2), "confidence": (K,), "truth": (K, 2), "covariance": (K, 2, 2)}
    for name, array in arrays.items():
        if array is not None and array.shape != shapes[name]:
            raise ValueError(f"{name} has shape {array.shape} but {K} keypoints need {shapes[name]}")
    if skeleton is not None and len(skeleton) != K:
        raise ValueError(f"the skeleton names {len(skeleton)} keypoints but {K} are given")
