"""Example results of a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from softpoint.evaluation import Results
from softpoint.labels.skeleton import Skeleton

NAMES = ("nose", "left_ear", "right_ear", "tail")


def example_results(count: int = 12, seed: int = 0, spread: float = 4.0, **changes: Any) -> Results:
    """`count` subjects of four keypoints with errors of `spread` px; some points are hidden, some unlabeled.

    Subjects 0 and 1 share an image, the subjects come from 6 groups, every third box is unknown.
    """
    rng = np.random.default_rng(seed)
    K = len(NAMES)
    truth = rng.uniform(10, 190, (count, K, 2))
    visibility = rng.choice([0, 1, 2], (count, K), p=[0.15, 0.25, 0.6])
    boxes = np.concatenate([truth.min(1) - 7, truth.max(1) + 5], axis=1)
    keypoints = truth + rng.normal(0, spread, truth.shape) * rng.choice([0.3, 1, 4], (count, K, 1))
    boxes[2::3] = np.nan
    factor = rng.normal(0, 2, (count, K, 2, 2))
    given = {
        "images": [f"video{i % 6}/img{max(i, 1):03}.png" for i in range(count)],
        "groups": [f"video{i % 6}" for i in range(count)],
        "keypoints": keypoints,
        "truth": np.where((visibility > 0)[..., None], truth, np.nan),
        "visibility": visibility,
        "confidence": rng.uniform(0, 1, (count, K)),
        "covariance": factor @ factor.swapaxes(-1, -2) + np.eye(2),
        "scale": rng.uniform(60, 200, count),
        "boxes": boxes,
        "size": rng.integers(200, 300, (count, 2)),
        "skeleton": Skeleton(NAMES, (("left_ear", "right_ear"),)),
    }
    given["images"][:2] = ["video0/img001.png"] * min(2, count)
    return Results(**(given | changes))


def unlabeled(results: Results, mask: np.ndarray) -> dict[str, np.ndarray]:
    """What changes where the points of `mask` (N, K) lose their labels."""
    return {
        "visibility": np.where(mask, 0, results.visibility),
        "truth": np.where(mask[..., None], np.nan, results.truth),
    }
