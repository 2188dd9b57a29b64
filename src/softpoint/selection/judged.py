"""Labels beside predictions: of the models of a cross-validation, or of one model, for its own training images too."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.evaluation.eval_data import confidence_fraction, open_set
from softpoint.evaluation.eval_sets import common_keypoints
from softpoint.evaluation.predict import evaluation_predictor, predict
from softpoint.evaluation.results import Results
from softpoint.images import ImageFolder
from softpoint.inference import Checkpoint
from softpoint.labels.schema import Labels
from softpoint.metrics.calibration import FRACTION
from softpoint.paths import normalize_path
from softpoint.selection.candidates import Progress


@dataclass(frozen=True, eq=False)
class Judged:
    """N labeled subjects and their predictions, in the same order."""

    results: Results
    labels: Labels
    held_out: np.ndarray  # (N,), False where the model of the prediction was trained on the label
    read: Callable[[str], np.ndarray]  # opens an image by its path in the labels
    fraction: float  # of the subject's size that the confidences are about
    note: str = ""  # labels that are not judged


def judged_by_folds(labels: Labels, folder: Path, image_folder: ImageFolder) -> Judged:
    """Return labels beside the predictions of a cross-validation of them, by models that did not learn them.

    Labels that were corrected since are compared as they are now. Raises FileNotFoundError for a folder without
    results, and ValueError where they are of other labels.
    """
    if not (folder / "predictions.csv").is_file() or not (folder / "crossval.json").is_file():
        raise FileNotFoundError(
            f"crossval={folder} holds no finished cross-validation (crossval.json, predictions.csv); name the output of"
            " softpoint crossval, and start it again with that output where it was interrupted"
        )
    content = json.loads((folder / "crossval.json").read_text(encoding="utf-8"))
    predicted = Results.read(folder / "predictions.csv")
    names = common_keypoints(predicted.skeleton.names, labels.skeleton.names, "skip")
    labels, predicted = labels.with_keypoints(names), predicted.with_keypoints(names)
    pairs = _matches(labels, predicted, len(content["seeds"]))
    if not pairs:
        raise ValueError(
            f"no image of {labels.source} was predicted in {folder}, whose first is {predicted.images[0]}; name the"
            " labels that were cross-validated"
        )
    judged, rows = labels.select(pairs), predicted.select(pairs.values())
    results = replace(rows, truth=judged.keypoints, visibility=judged.visibility, skeleton=labels.skeleton)
    left = sum(bool((subject.visibility > 0).any()) for subject in labels.subjects) - len(pairs)
    note = f"{left} labeled subjects were not in the cross-validation, or not in all its seeds" if left > 0 else ""
    fraction = float(content.get("confidence_fraction") or FRACTION)
    return Judged(results, judged, np.ones(len(judged), bool), image_folder.read, fraction, note)


def _matches(labels: Labels, predicted: Results, seeds: int) -> dict[int, int]:
    """Return the first row of the results for each subject, by image, and by order within an image.

    An image with another number of subjects than each of the `seeds` predicted is left out. Each seed has its own rows.
    """
    ours, theirs = defaultdict[str, list[int]](list), defaultdict[str, list[int]](list)
    for i, subject in enumerate(labels.subjects):
        if not subject.crowd:
            ours[labels.paths[i]].append(i)
    for row, image in enumerate(predicted.images):
        theirs[normalize_path(image)].append(row)
    pairs: dict[int, int] = {}
    for image, subjects in ours.items():
        rows = theirs[image]
        if len(rows) == seeds * len(subjects):
            pairs |= dict(zip(subjects, rows, strict=False))
    return pairs


def judged_by_model(
    checkpoint: Checkpoint, data: Mapping[str, Any], device: str, batch_size: int, progress: Progress
) -> Judged:
    """Return all labels of a checkpoint's data beside its predictions; `data` replaces settings of the training.

    Raises FileNotFoundError and ValueError as `open_set` does, and ValueError for data without a label file.
    """
    eval_set = open_set(replace(checkpoint, splits=None), "all", data)
    labels = getattr(eval_set.source, "labels", None)
    if not isinstance(labels, Labels):
        raise ValueError(f"{checkpoint.path} was trained on data without a label file; name one by labels=FILE")
    predictor = evaluation_predictor(checkpoint, eval_set, device=device)
    results = predict(predictor, eval_set, batch_size=batch_size, missing="skip", progress=progress)
    trained = {normalize_path(image) for image in (checkpoint.splits or {}).get("train", ())}
    held_out = np.array([path not in trained for path in labels.paths])
    labels = labels.with_keypoints(results.skeleton.names)
    read = {image: row for row, image in reversed(list(enumerate(eval_set.images)))}
    return Judged(results, labels, held_out, lambda image: eval_set.image(read[image]), confidence_fraction(checkpoint))
