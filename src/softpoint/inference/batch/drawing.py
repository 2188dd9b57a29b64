"""Images and frames with what was predicted drawn in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from softpoint.inference.batch.options import PredictOptions
from softpoint.inference.batch.predictions import Row
from softpoint.inference.batch.stream import Item, PredictedArrays
from softpoint.inference.predictor import Predictor
from softpoint.labels.skeleton import Skeleton
from softpoint.viz import draw_subjects
from softpoint.viz.image_ops import enlarge


def draw_item(
    predictor: Predictor, item: Item, predictions: Sequence[PredictedArrays], options: PredictOptions, scale: int | None
) -> np.ndarray:
    """Return a copy of an item's image (H * scale, W * scale, 3) with its predictions, as the options say.

    Points below the threshold are left out. The scale is None for one that makes a small image legible.
    """
    assert item.image is not None
    if not predictions:
        return enlarge(item.image, scale or 1)
    stacked = {name: np.stack([prediction[name] for prediction in predictions]) for name in predictions[0]}
    stacked["keypoints"][stacked["confidence"] < options.threshold] = float("nan")
    stacked["covariance"] = options.outlined(stacked["covariance"])
    boxes, size = [None] * len(predictions) if item.boxes is None else item.boxes, item.image.shape[:2]
    outlines = [set_outlines(predictor, sets, size, b) for sets, b in zip(stacked.get("sets", ()), boxes, strict=False)]
    style: dict[str, Any] = {"names": options.names, "ellipses": options.outlines, "upscale": scale}
    return draw_subjects(item.image, stacked, predictor.skeleton, outlines=outlines, **style)


def draw_rows(
    image: np.ndarray,
    rows: Sequence[Row],
    skeleton: Skeleton,
    names: bool = False,
    ellipses: bool = False,
    scale: int = 1,
    outlines: Callable[[Row], list[list[np.ndarray]]] = lambda row: [],
) -> np.ndarray:
    """Return a copy of a frame (H * scale, W * scale, 3) with the keypoints of its rows, without those that are NaN.

    `outlines` are the polygons of each keypoint's heatmap set.
    """
    if not rows:
        return enlarge(image, scale)
    parts = ("keypoints", "confidence", "covariance")
    predictions = {part: np.stack([getattr(row, part) for row in rows]) for part in parts}
    polygons = [outlines(row) for row in rows]
    tracks = None if rows[0].track is None else [row.track or 0 for row in rows]
    style: dict[str, Any] = {"names": names, "ellipses": ellipses, "upscale": scale, "tracks": tracks}
    return draw_subjects(image, predictions, skeleton, outlines=polygons, **style)


def set_outlines(
    predictor: Predictor, sets: np.ndarray | None, size: tuple[int, int], box: np.ndarray | None
) -> list[list[np.ndarray]]:
    """Return the polygons of each keypoint's heatmap set in an image of `size` (H, W); none without sets."""
    parts = [] if sets is None else predictor.parts_in(sets, size, box)
    return [[line for part in own for line in (part.outline, *part.holes)] for own in parts]
