"""Contact sheets of chosen images with their predictions, and of suspicious labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from softpoint.functional.coordinates import grid_to_image
from softpoint.inference.batch.stream import PredictedArrays
from softpoint.labels.skeleton import Skeleton
from softpoint.selection.judged import Judged
from softpoint.selection.label_errors import Suspicion
from softpoint.viz import contact_sheet, crop_around, draw_keypoints, draw_tile
from softpoint.viz.image_ops import resize, rgb_view

MAX_TILES = 60
_SIDE = 420  # pixels of the longer side of a tile
_COLUMNS = 4


def predicted_tile(image: np.ndarray, predictions: Sequence[PredictedArrays], skeleton: Skeleton) -> np.ndarray:
    """Return an image, as large as a tile, with the points of its subjects and two-sigma ellipses of their errors."""
    scale = _SIDE / max(image.shape[:2])
    canvas = resize(rgb_view(image), (max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))))
    for prediction in predictions:
        canvas = draw_keypoints(
            canvas,
            grid_to_image(prediction["keypoints"].astype(float), scale),
            confidence=prediction["confidence"],
            covariance=prediction["covariance"].astype(float) * scale**2,
            skeleton=skeleton,
            upscale=1,
        )
    return canvas


def sheet(tiles: Sequence[np.ndarray], titles: Sequence[str]) -> np.ndarray:
    """Return the page of the tiles, of which there is one at least."""
    return contact_sheet(tiles, _COLUMNS, titles=titles)


def suspicious_tile(judged: Judged, one: Suspicion) -> np.ndarray:
    """Return the surroundings of suspicious labels, which are circles, with the predictions, which are discs."""
    results, row, chosen = judged.results, one.subject, list(one.keypoints)
    points = np.full((1, len(results.skeleton), 2), np.nan)
    truth = points.copy()
    points[0, chosen], truth[0, chosen] = results.keypoints[row, chosen], results.truth[row, chosen]
    near = np.concatenate([results.truth[row], points[0]])
    crop, origin = crop_around(judged.read(results.images[row]), near[np.isfinite(near).all(1)])
    return draw_tile(crop, points - origin, (_SIDE * 3 // 4, _SIDE), results.skeleton, truth=truth - origin, names=True)
