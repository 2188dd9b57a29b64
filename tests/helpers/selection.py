"""Candidates for labeling, made from arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from softpoint.inference.batch.sources import ImageSource
from softpoint.selection.candidates import Candidate


def prediction(points: np.ndarray, confidence: float | np.ndarray = 0.9, **changes: Any) -> dict[str, np.ndarray]:
    """A prediction (K, 2) that explains its confidence: errors of scale 2 px, a radius of 5 px."""
    K = len(points)
    given = {
        "keypoints": points.astype(np.float32),
        "confidence": np.broadcast_to(np.float32(confidence), K).copy(),
        "covariance": np.tile(np.eye(2, dtype=np.float32), (K, 1, 1)),
        "in_image": np.ones(K, np.float32),
        "error_scale": np.full(K, 2.0, np.float32),
        "radius": np.full(K, 5.0, np.float32),
        "features": np.zeros(3, np.float32),
    }
    return given | changes


def candidate(number: int = 0, score: float = 1.0, features: Any = (0.0, 0.0, 0.0), **changes: Any) -> Candidate:
    """An image of 64 x 48 pixels without near duplicates, unless `print` says otherwise."""
    given: dict[str, Any] = {
        "source": ImageSource(Path("folder"), ("a.png",)),
        "number": number,
        "name": f"day1/img{number}.png",
        "time": float("nan"),
        "size": (48, 64),
        "boxes": None,
        "predictions": [prediction(np.array([[10.0, 20.0], [30.0, 12.0], [40.0, 33.5]]))],
        "errors": np.full(3, score),
        "score": score,
        "features": np.asarray(features, float),
        "print": int(np.random.default_rng(number).integers(0, 2, 256) @ (1 << np.arange(256, dtype=object))),
    }
    return Candidate(**(given | changes))
