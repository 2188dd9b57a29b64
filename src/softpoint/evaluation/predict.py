"""Predictions of a set by a `Predictor`, beside its labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from softpoint.data.dataset import KeypointDataset, collate
from softpoint.data.sources import Record
from softpoint.data.watched_loader import WatchedLoader
from softpoint.evaluation.eval_sets import EvaluationSet, common_keypoints
from softpoint.evaluation.results import Results
from softpoint.inference import Checkpoint, Predictor, load_predictor
from softpoint.inference.predictor import BATCH_SIZE
from softpoint.labels.skeleton import Skeleton


def evaluation_predictor(
    checkpoint: Checkpoint,
    eval_set: EvaluationSet,
    *,
    device: str | torch.device = "cpu",
    tta: str | None = None,
    unpaired: bool = False,
    size: tuple[int, int] | None = None,
) -> Predictor:
    """Return the predictor of a checkpoint for a set, whose labels may name flip pairs that the checkpoint lacks.

    `tta` is "flip" to average over each image and its mirror, see `flip_average`; `size` (height, width) replaces
    that of the network's input.
    """
    pairs = [pair for pair in eval_set.skeleton.flip_pairs if {*pair} <= {*checkpoint.skeleton.names}]
    checkpoint = replace(checkpoint, size=size or checkpoint.size)
    return load_predictor(checkpoint, device, tta, unpaired, flip_pairs=pairs)


def predict(
    predictor: Predictor,
    eval_set: EvaluationSet,
    *,
    batch_size: int = BATCH_SIZE,
    num_workers: int = 0,
    missing: str = "error",
    progress: Callable[[Any], Iterable[Any]] = iter,
) -> Results:
    """Return the predictions for every subject of a set, beside its labels.

    Args:
        missing: "skip" to leave out keypoints that the labels lack, see `common_keypoints`.
        progress: wraps the batches, such as `softpoint.progress.track`.

    Raises ValueError for a set without subjects, and for predictions that are not finite.
    """
    if not len(eval_set):
        raise ValueError("there is nothing to evaluate: the split has no image")
    names = common_keypoints(predictor.skeleton.names, eval_set.skeleton.names, missing)
    samples = KeypointDataset(eval_set.source, predictor.size, (0,), padding=eval_set.padding, unrounded=True)
    loader = WatchedLoader(samples, batch_size, num_workers=num_workers, collate_fn=collate)
    loader.remedy = "load without processes by num_workers=0"
    records: list[Record] = []
    parts: list[Mapping[str, np.ndarray]] = []
    for batch in progress(loader):
        records += batch["record"]
        parts.append(predictor.postprocess(predictor.forward(batch["image"], batch_size), batch["matrix"]))
    predictions = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    results = join_labels(eval_set, records, predictions, predictor.skeleton, names)
    check_finite(results)
    return results


def join_labels(
    eval_set: EvaluationSet,
    records: Sequence[Record],
    predictions: Mapping[str, np.ndarray],
    skeleton: Skeleton,
    names: Sequence[str],
) -> Results:
    """Return predictions (N, ...) of the keypoints of `skeleton` beside the labels of the N subjects of a set.

    Only the keypoints `names` are kept.
    """
    predicted, labeled = ([s.index(name) for name in names] for s in (skeleton, eval_set.skeleton))
    visibility = np.stack([record.visibility for record in records])[:, labeled]
    truth = np.stack([record.keypoints for record in records])[:, labeled]
    kept = {"keypoints": "keypoints", "confidence": "confidence", "covariance": "covariance"}
    kept |= {"predicted_visibility": "visibility"} if "visibility" in predictions else {}
    return Results(
        images=eval_set.images,
        groups=[record.group for record in records],
        **{name: predictions[part][:, predicted].astype(float) for name, part in kept.items()},
        truth=np.where((visibility > 0)[..., None], truth, np.nan),
        visibility=visibility,
        scale=np.array([record.scale for record in records]),
        boxes=eval_set.boxes,
        size=np.array([record.size for record in records]),
        skeleton=skeleton.subset(names),
        areas=eval_set.areas,
        has_groups=eval_set.has_groups,
        plane=eval_set.plane,
    )


def check_finite(results: Results) -> None:
    """Raise ValueError for a prediction that is not finite: left out, it would flatter a network that diverged."""
    for name in ("keypoints", "confidence", "covariance"):
        finite = np.isfinite(getattr(results, name)).reshape(len(results), -1).all(1)
        if not finite.all():
            raise ValueError(
                f"the {name} predicted for {results.images[int(np.argmin(finite))]} is NaN or infinite; the weights or"
                " the calibration are damaged, or the training diverged"
            )
