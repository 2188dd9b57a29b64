"""Predictions of another tool on the images of an evaluation, as results that can be compared with a model's."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import scipy

from softpoint.evaluation.intervals import OKS
from softpoint.evaluation.results import Results
from softpoint.labels.predictions import read_predictions, stem_of
from softpoint.labels.schema import Labels
from softpoint.paths import normalize_path
from softpoint.suggest import did_you_mean

# Metrics that need what only some tools give.
_NEEDING = {"confidence": ("ece", *OKS), "covariance": ("coverage_50", "coverage_90", "rank_correlation")}
_FAR = 1e9  # px, for a subject without a point in common


@dataclass(frozen=True)
class Against:
    """A model and another tool on the points that both have, and what was left out."""

    rows: list[int]  # places of the subjects in the model's results
    model: Results
    other: Results
    notes: list[str]
    unmeasured: dict[str, str]  # metrics that the other tool's file cannot give, and why


def against(path: Path, results: Results, images: Path | None = None, labels: Path | None = None) -> Against:
    """Return a model's results and the predictions in a file of another tool, on the points that both have.

    Images are matched by their paths, of which one may be an end of the other, else by their names alone; keypoints by
    name. Of several predicted subjects in an image each labeled one gets that of the least mean distance from its
    labels, which favors the other tool. `images` is the folder of the images and `labels` their labels, which has the
    ids of COCO's images, where a format needs them. Raises FileNotFoundError and ValueError for a file that cannot be
    read, and where no image or no keypoint matches.
    """
    predicted = _evaluated(path) or _read(path, results, images, labels)
    names = [name for name in results.skeleton.names if name in predicted.skeleton.names]
    if not names:
        first = predicted.skeleton.names[0]
        hint = did_you_mean(first, results.skeleton.names)
        raise ValueError(f"{path} has no keypoint of the model, but {first!r}: {hint}")
    notes = []
    if absent := [name for name in results.skeleton.names if name not in names]:
        notes.append(f"{path} has no keypoint {', '.join(absent)}; the comparison is of the other {len(names)}")
    model, predicted = results.with_keypoints(names), predicted.with_keypoints(names)
    found, by_name = matched_images(results.images, predicted.images)
    if not found:
        first, known = predicted.images[0], dict.fromkeys(PurePosixPath(image).name for image in results.images)
        raise ValueError(
            f"{path} has predictions of {len(set(predicted.images))} images, such as {first}, and none has the name of"
            f" one that is evaluated: {did_you_mean(PurePosixPath(normalize_path(first)).name, list(known)[:100])}"
        )
    if by_name:
        notes.append(f"images of {path} are matched by {by_name}, as their paths differ")
    other = _beside(model, predicted, _assigned(model, predicted, found))
    return _in_common(path, model, other, notes)


def _evaluated(path: Path) -> Results | None:
    """Return the content of a predictions.csv of softpoint evaluate; None for any other file."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return None
    with path.open("rb") as file:
        if not file.readline().startswith(b"image,group,height,width,scale,"):
            return None
    return Results.read(path)


def _read(path: Path, results: Results, images: Path | None, labels: Path | None) -> Results:
    sizes = {stem_of(image): (int(h), int(w)) for image, (h, w) in zip(results.images, results.size, strict=True)}
    return _of_labels(read_predictions(path, results.skeleton.names, images, sizes, labels))


def _of_labels(labels: Labels) -> Results:
    """Return predictions as results without labels; confidences and covariances are NaN where there are none."""
    count, K = len(labels), len(labels.skeleton)
    return Results(
        images=list(labels.images),
        groups=[""] * count,
        keypoints=labels.keypoints,
        truth=np.full((count, K, 2), np.nan),
        visibility=np.zeros((count, K), np.int64),
        confidence=labels.columns.numbers("confidence"),
        covariance=np.full((count, K, 2, 2), np.nan),
        scale=np.ones(count),
        boxes=None,
        size=np.ones((count, 2), np.int64),
        skeleton=labels.skeleton,
    )


def matched_images(own: Sequence[str], others: Sequence[str]) -> tuple[dict[str, str], str]:
    """Return the image of `own` that each of `others` is, and what they are matched by beside their paths ("").

    Raises ValueError for a name that several images of `own` end in.

    >>> matched_images(["v1/a.png", "v2/a.png"], ["C:\\\\data\\\\v2\\\\a.png", "b.png"])
    ({'C:\\\\data\\\\v2\\\\a.png': 'v2/a.png'}, '')
    >>> matched_images(["v1/img07.png"], ["7"])
    ({'7': 'v1/img07.png'}, 'the numbers of their frames')
    """
    ways: list[tuple[str, Callable[[str], str]]] = [
        ("", normalize_path),
        ("their paths without suffix", lambda image: str(PurePosixPath(normalize_path(image)).with_suffix(""))),
        ("their names alone", lambda image: PurePosixPath(normalize_path(image)).name),
    ]
    if all(image.isdecimal() for image in others):
        ways = [("the numbers of their frames", _frame_number)]
    for way, spelled in ways:
        # Below the whole path, names must tell images apart.
        if way and any(len({*map(spelled, images)}) < len({*images}) for images in (own, others)):
            continue
        if found := _by_ends({spelled(image): image for image in own}, {image: spelled(image) for image in others}):
            return found, way
    return {}, ""


def _frame_number(image: str) -> str:
    numbers = re.findall(r"\d+", PurePosixPath(normalize_path(image)).stem)
    return str(int(numbers[-1])) if numbers else normalize_path(image)


def _by_ends(own: dict[str, str], others: dict[str, str]) -> dict[str, str]:
    """Return the images whose spelled paths are equal, or of which one is an end of the other."""
    ends: dict[str, set[str]] = {}
    for spelled in own:
        for end in _ends(spelled):
            ends.setdefault(end, set()).add(spelled)
    found = {}
    for image, spelled in others.items():
        fitting = {end for end in _ends(spelled) if end in own} or ends.get(spelled, set())
        if len(fitting) > 1:
            first, second, *_ = sorted(own[end] for end in fitting)
            raise ValueError(f"{image} may be {first} or {second}; write longer paths of images")
        if fitting:
            found[image] = own[fitting.pop()]
    return found


def _ends(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _assigned(model: Results, predicted: Results, found: dict[str, str]) -> dict[int, int]:
    """Return the predicted subject of each labeled one, by their places."""
    candidates: dict[str, list[int]] = {}
    for j, image in enumerate(predicted.images):
        if image in found:
            candidates.setdefault(found[image], []).append(j)
    subjects: dict[str, list[int]] = {}
    for i, image in enumerate(model.images):
        subjects.setdefault(image, []).append(i)
    pairs: dict[int, int] = {}
    for image, own in subjects.items():
        others = candidates.get(image, [])
        if len(own) == len(others) == 1:
            pairs[own[0]] = others[0]
        elif others:
            apart = np.linalg.norm(model.truth[own][:, None] - predicted.keypoints[others][None], axis=-1)
            shared = np.isfinite(apart)
            mean = np.where(shared, apart, 0).sum(-1) / shared.sum(-1).clip(1)
            rows, columns = scipy.optimize.linear_sum_assignment(np.where(shared.any(-1), mean, _FAR))
            pairs |= {own[i]: others[j] for i, j in zip(rows, columns, strict=True)}
    return pairs


def _beside(model: Results, predicted: Results, pairs: dict[int, int]) -> Results:
    """Return the predictions beside the model's labels, NaN where there are none."""
    rows, chosen = list(pairs), list(pairs.values())
    parts = {}
    for name in ("keypoints", "confidence", "covariance"):
        parts[name] = np.full_like(getattr(model, name), np.nan)
        parts[name][rows] = getattr(predicted, name)[chosen]
    return replace(model, **parts, predicted_visibility=None)


def _in_common(path: Path, model: Results, other: Results, notes: list[str]) -> Against:
    """Return both on the labeled points that the other tool predicts, with notes of the rest."""
    missing = model.labeled & ~np.isfinite(other.keypoints).all(-1)
    labeled = model.labeled.any(1)
    rows = np.flatnonzero(labeled & (model.labeled & ~missing).any(1)).tolist()
    if not rows:
        raise ValueError(
            f"{path} predicts none of the {int(model.labeled.sum())} labeled points; check its coordinates"
        )
    if missing.any():
        kept = {model.images[i] for i in rows}
        images = len({model.images[i] for i in np.flatnonzero(labeled)})
        notes.append(
            f"{path} has no prediction of {int(missing.sum())} of {int(model.labeled.sum())} labeled points"
            f" ({images - len(kept)} of {images} images have none); both are measured on the others, and A's mean error"
            f" on the points left out is {model.errors[missing].mean():.2f} px"
        )
    truth, visibility = np.where(missing[..., None], np.nan, model.truth), np.where(missing, 0, model.visibility)
    pair = [replace(part, truth=truth, visibility=visibility).select(rows) for part in (model, other)]
    model, other = pair
    unmeasured: dict[str, str] = {}
    for name, metrics in _NEEDING.items():
        values = getattr(other, name)
        if not np.isfinite(values[other.labeled]).all():
            other = replace(other, **{name: np.full_like(values, np.nan)})
            unmeasured |= dict.fromkeys(metrics, f"{path} has no {name}s")
    return Against(rows, model, replace(other, keypoints=np.nan_to_num(other.keypoints)), notes, unmeasured)
