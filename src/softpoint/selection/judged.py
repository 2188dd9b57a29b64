"""Labels beside predictions: of the models of a cross-validation, or of one model, for its own training images too."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from softpoint.evaluation.eval_data import confidence_fraction, open_set
from softpoint.evaluation.eval_sets import EvaluationSet, common_keypoints
from softpoint.evaluation.predict import evaluation_predictor, predict
from softpoint.evaluation.results import Results
from softpoint.inference import Checkpoint, read_checkpoint
from softpoint.inference.batch.stream import Progress
from softpoint.inference.checkpoint import trained_images
from softpoint.labels.schema import Labels
from softpoint.layers import Calibration
from softpoint.metrics.calibration import FRACTION
from softpoint.paths import normalize_path


@dataclass(frozen=True, eq=False)
class Judged:
    """N labeled subjects and their predictions by one model or several, in the same order."""

    # Of each model that predicted all subjects; each covariance is the squared scale of the errors' t-distribution.
    by_seed: tuple[Results, ...]
    labels: Labels
    held_out: np.ndarray  # (N,), False where the model of the prediction was trained on the label
    read: Callable[[str], np.ndarray]  # opens an image by its path in the labels
    fraction: float  # of the subject's size that the confidences are about
    note: str = ""  # labels that are not judged

    @cached_property
    def results(self) -> Results:
        """The labels with the median of the predicted points."""
        points = np.median([results.keypoints for results in self.by_seed], 0)
        return replace(self.by_seed[0], keypoints=points)


class CovarianceLaw(NamedTuple):
    """How a calibration makes a covariance of the squared scale of the t-distribution: see `Calibration`."""

    scale: float
    slope: float

    @classmethod
    def of(cls, calibration: Calibration) -> CovarianceLaw:
        """Return that of a calibration."""
        return cls(float(calibration.covariance_scale), float(calibration.covariance_slope))


def judged_by_folds(eval_set: EvaluationSet, folder: Path, laws: Sequence[Mapping[str, CovarianceLaw]]) -> Judged:
    """Return labels beside the predictions of a cross-validation of them, by models that did not learn them.

    Labels that were corrected since are compared as they are now. `laws` has, for each seed, that of the
    model that predicted an image, by its path, see `fold_laws`. Raises ValueError for predictions of other labels.
    """
    content = json.loads((folder / "crossval.json").read_text(encoding="utf-8"))
    predicted, labels = Results.read(folder / "predictions.csv"), labels_of(eval_set, folder)
    names = common_keypoints(predicted.skeleton.names, labels.skeleton.names, "skip")
    labels, predicted = labels.with_keypoints(names), predicted.with_keypoints(names)
    pairs = _matches(labels, predicted, len(content["seeds"]))
    if not pairs:
        raise ValueError(
            f"no image of {labels.source} was predicted in {folder}, whose first is {predicted.images[0]}; name the"
            " labels that were cross-validated"
        )
    judged = labels.select(pairs)
    now: dict[str, Any] = {"truth": judged.keypoints, "visibility": judged.visibility, "skeleton": labels.skeleton}
    if lost := next((path for own in laws for path in judged.paths if path not in own), None):
        raise ValueError(
            f"no model in {folder} has {lost} in its test split; start softpoint crossval again with that output"
        )
    rows_by_seed = zip(zip(*pairs.values(), strict=True), laws, strict=True)
    fraction = float(content.get("confidence_fraction") or FRACTION)
    by_seed = tuple(
        replace(as_scales(predicted.select(rows), [own[path] for path in judged.paths], fraction), **now)
        for rows, own in rows_by_seed
    )
    left = sum(bool((subject.visibility > 0).any()) for subject in labels.subjects) - len(pairs)
    note = f"{left} labeled subjects were not in the cross-validation, or not in all its seeds" if left > 0 else ""
    return Judged(by_seed, judged, np.ones(len(judged), bool), _reader(eval_set), fraction, note)


def fold_laws(folder: Path, trust: Sequence[str] = ()) -> list[dict[str, CovarianceLaw]]:
    """Return for each seed the covariance law of the model that predicted an image, by its path.

    Raises ValueError for a model that is not calibrated.
    """
    content = json.loads((folder / "crossval.json").read_text(encoding="utf-8"))
    laws: list[dict[str, CovarianceLaw]] = []
    for seed in content["seeds"]:
        laws.append({})
        for path in sorted(folder.glob(f"seed{seed}/fold*/checkpoints/best.ckpt")):
            checkpoint = read_checkpoint(path, trust)
            if not checkpoint.net.calibration.fitted:
                raise ValueError(
                    f"{path} is not calibrated, and how unlikely a label is needs that; cross-validate again without"
                    " ~callbacks.calibrate"
                )
            tested = map(normalize_path, (checkpoint.splits or {}).get("test", ()))
            laws[-1] |= dict.fromkeys(tested, CovarianceLaw.of(checkpoint.net.calibration))
    return laws


def as_scales(results: Results, laws: CovarianceLaw | Sequence[CovarianceLaw], fraction: float) -> Results:
    """Return results whose covariances are the squared scales that the law of their model, or one each, made them of.

    The radius that the law refers to is `fraction` of each subject's scale.
    """
    factor, slope = np.reshape(laws, (-1, 2)).T[..., None]
    area = np.sqrt(np.linalg.det(results.covariance).clip(1e-24))
    radius = fraction * results.scale[:, None]
    squared = (area / factor * radius**slope) ** (2 / (2 + slope))
    return replace(results, covariance=results.covariance * (squared / area)[..., None, None])


def model_of_folds(folder: Path) -> Path:
    """Return a checkpoint of a cross-validation; FileNotFoundError for a folder without results."""
    models = sorted(folder.glob("seed*/fold*/checkpoints/best.ckpt"))
    if missing := [name for name in ("crossval.json", "predictions.csv") if not (folder / name).is_file()]:
        raise FileNotFoundError(
            f"crossval={folder} holds no finished cross-validation, which has {', '.join(missing)}; name the output of"
            " softpoint crossval, and start it again with that output where it was interrupted"
        )
    if not models:
        raise FileNotFoundError(
            f"crossval={folder} has no seed0/fold0/checkpoints/best.ckpt, which says how its labels are read; start"
            " softpoint crossval again with that output"
        )
    return models[0]


def _matches(labels: Labels, predicted: Results, seeds: int) -> dict[int, list[int]]:
    """Return the rows of the results for each subject, one per seed, by image, and by order within an image.

    An image with another number of subjects than each of the `seeds` predicted is left out.
    """
    ours, theirs = defaultdict[str, list[int]](list), defaultdict[str, list[int]](list)
    for i, subject in enumerate(labels.subjects):
        if not subject.crowd:
            ours[labels.paths[i]].append(i)
    for row, image in enumerate(predicted.images):
        theirs[normalize_path(image)].append(row)
    pairs: dict[int, list[int]] = {}
    for image, subjects in ours.items():
        rows = theirs[image]
        if len(rows) == seeds * len(subjects):
            pairs |= {subject: rows[i :: len(subjects)] for i, subject in enumerate(subjects)}
    return pairs


def judged_by_model(
    checkpoint: Checkpoint, eval_set: EvaluationSet, device: str, batch_size: int, progress: Progress
) -> Judged:
    """Return all labels of a set beside the predictions of one model, which was trained on some of them."""
    labels = labels_of(eval_set, checkpoint.path)
    predictor = evaluation_predictor(checkpoint, eval_set, device=device)
    results = predict(predictor, eval_set, batch_size=batch_size, missing="skip", progress=progress)
    trained = trained_images(checkpoint.splits)
    held_out = np.array([path not in trained for path in labels.paths])
    labels = labels.with_keypoints(results.skeleton.names)
    fraction = confidence_fraction(checkpoint)
    results = as_scales(results, CovarianceLaw.of(checkpoint.net.calibration), fraction)
    return Judged((results,), labels, held_out, _reader(eval_set), fraction)


def all_labels(checkpoint: Checkpoint, settings: Mapping[str, Any]) -> EvaluationSet:
    """Return every label of a checkpoint's data, read as in its training; `settings` replaces some of that.

    Raises FileNotFoundError and ValueError as `open_set` does.
    """
    return open_set(replace(checkpoint, splits=None), "all", {"splits": None, **settings})


def labels_of(eval_set: EvaluationSet, model: Path) -> Labels:
    """Return the labels of a set; ValueError for one without a label file."""
    labels = getattr(eval_set.source, "labels", None)
    if not isinstance(labels, Labels):
        raise ValueError(f"{model} was trained on data without a label file; name one by labels=FILE")
    return labels


def _reader(eval_set: EvaluationSet) -> Callable[[str], np.ndarray]:
    rows = {image: row for row, image in reversed(list(enumerate(eval_set.images)))}
    return lambda image: eval_set.image(rows[image])
