"""Predictions of a set by a `Predictor`, beside its labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from softpoint.data.dataset import KeypointDataset
from softpoint.data.loaders import collate
from softpoint.data.sources import Record
from softpoint.data.watched_loader import WatchedLoader
from softpoint.evaluation.eval_sets import EvaluationSet, common_keypoints
from softpoint.evaluation.heatmap_sets import set_measures
from softpoint.evaluation.results import Results
from softpoint.inference import Checkpoint, Predictor, load_predictor
from softpoint.inference.predictor import BATCH_SIZE
from softpoint.inference.regions import Regions
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
    sets: Regions | None = None,
    progress: Callable[[Any], Iterable[Any]] = iter,
) -> Results:
    """Return the predictions for every subject of a set, beside its labels.

    Args:
        missing: "skip" to leave out keypoints that the labels lack, see `common_keypoints`.
        sets: heatmap sets of the network, to be measured as well.
        progress: wraps the batches, such as `softpoint.progress.track`.

    Raises ValueError for a set without subjects, and for predictions that are not finite.
    """
    if not len(eval_set):
        raise ValueError("there is nothing to evaluate: the split has no image")
    names = common_keypoints(predictor.skeleton.names, eval_set.skeleton.names, missing)
    samples = KeypointDataset(eval_set.source, predictor.size, (0,), padding=eval_set.padding, unrounded=True)
    loader = WatchedLoader(samples, batch_size, num_workers=num_workers, collate_fn=collate)
    loader.remedy = "load without processes by num_workers=0"
    predicted, labeled = ([s.index(name) for name in names] for s in (predictor.skeleton, eval_set.skeleton))
    records: list[Record] = []
    parts: list[dict[str, np.ndarray]] = []
    for batch in progress(loader):
        records += batch["record"]
        prediction = predictor.forward(batch["image"], batch_size)
        parts.append(predictor.postprocess(prediction, batch["matrix"]))
        if sets is not None:
            labels = torch.full(prediction["keypoints"].shape, torch.nan)
            labels[:, predicted] = batch["keypoints"][:, labeled]
            parts[-1] |= set_measures(sets, prediction, labels, batch["matrix"], predictor.net.head.stride)
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
    added = {"predicted_visibility": "visibility", "set_tails": "set_tails", "set_sizes": "set_sizes"}
    kept |= {name: part for name, part in added.items() if part in predictions}
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
