"""Predictions as a job has them, made from arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from softpoint.inference.batch.predictions import Predictions, Row, rounded
from softpoint.labels.skeleton import Skeleton

SKELETON = Skeleton(("nose", "left_ear", "right_ear"), (("left_ear", "right_ear"),), (("nose", "left_ear"),))


def predicted(
    keypoints: Sequence[np.ndarray],
    images: Sequence[str] | None = None,
    source: Path = Path("clip.mp4"),
    skeleton: Skeleton = SKELETON,
    boxes: bool = False,
    visibility: bool = False,
) -> Predictions:
    """Predictions with points (S, K, 2) for the S subjects of each image, of `images` or else of the video `source`.

    Confidences go from 0.3 at the first keypoint up; an image without subjects has an empty row.
    """
    K = len(skeleton)
    sure = 0.3 + 0.5 * np.arange(K) / max(K, 1)
    states = np.tile([0.25, 0.125, 0.625], (K, 1)) if visibility else None
    rows = []
    for index, subjects in enumerate(keypoints):
        time = index / 8 if images is None else np.nan
        empty = np.full((1, K, 2), np.nan)
        for i, points in enumerate(subjects if len(subjects) else empty):
            has_subject = len(subjects) > 0
            box = np.array([1.0, 2.0, 30.5, 40.25]) + i if boxes and has_subject else np.full(4, np.nan)
            confidence = sure if has_subject else np.full(K, np.nan)
            state = None if states is None else states if has_subject else np.full((K, 3), np.nan)
            covariance = np.zeros((K, 2, 2))
            rows.append(Row(index, i, has_subject, time, (48, 64), "", box, points, confidence, covariance, state))
    named = None if images is None else tuple(images)
    return Predictions(skeleton, source, named, lambda: rounded(iter(rows)), has_boxes=boxes, has_visibility=visibility)
