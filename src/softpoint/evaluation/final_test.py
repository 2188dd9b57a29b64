"""The test of a run that has just ended, as facts for its record."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from softpoint.data.datamodule import KeypointData
from softpoint.evaluation.eval_data import confidence_fraction
from softpoint.evaluation.eval_sets import split_set
from softpoint.evaluation.intervals import DRAWS
from softpoint.evaluation.predict import predict_with
from softpoint.evaluation.results import Results
from softpoint.evaluation.summary import evaluate
from softpoint.inference import Checkpoint

# Numbers of all draws together that are computed without being noticed.
_WORK = 20_000_000
# Below it a point is more likely missed than hit.
DOUBT = 0.5
_OF_KEYPOINTS = ("points", "epe", "median", "p95", "pck@0.1")


def measure_test(checkpoint: Checkpoint, data: KeypointData, device: str | torch.device = "cpu") -> dict[str, Any]:
    """What a checkpoint reaches on the test split of the data that it was trained on.

    `metrics` {name: value} and `intervals` {name: [low, high]} as scripts/evaluate.py computes them, `resampled` in
    words, `per_keypoint` {name: {points, epe, median, p95, pck@0.1, doubtful}} with the share of labeled points whose
    confidence is below `DOUBT`, and that share of all as `doubtful`.
    """
    given = split_set(data, "test")
    results = predict_with(checkpoint, given, device=device, batch_size=data.batch_size)
    draws = max(200, min(DRAWS, _WORK // max(1, int(results.labeled.sum()))))
    found = evaluate(results, fraction=confidence_fraction(checkpoint), draws=draws)
    keypoints = {
        name: {key: entry[key] for key in _OF_KEYPOINTS if key in entry} for name, entry in found["keypoints"].items()
    }
    for k, entry in enumerate(keypoints.values()):
        entry |= {"doubtful": _doubtful(results, k)} if entry["points"] else {}
    return {
        "test_set": {key: found[key] for key in ("images", "subjects", "points")},
        "metrics": {name: entry["value"] for name, entry in found["overall"].items()},
        "intervals": {name: [e["low"], e["high"]] for name, e in found["overall"].items() if "low" in e},
        "resampled": f"{found['resampled']['units']} {found['resampled']['unit']}",
        "per_keypoint": keypoints,
        **({"doubtful": _doubtful(results, slice(None))} if found["points"] else {}),
    }


def _doubtful(results: Results, keypoints: int | slice) -> float:
    """The share of labeled points whose confidence is below `DOUBT`."""
    labeled = results.labeled[:, keypoints]
    return float(np.mean(results.confidence[:, keypoints][labeled] < DOUBT))
