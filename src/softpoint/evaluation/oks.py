"""Object keypoint similarity and COCO's average precision and recall from it, by COCO's own evaluator."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from softpoint.evaluation.results import Results
from softpoint.extras import require
from softpoint.metrics.functional import box_areas

# Spread of annotators' clicks as a fraction of the subject's size, which COCO measured for these 17 alone.
COCO_SIGMAS = {
    "nose": 0.026,
    "left_eye": 0.025, "right_eye": 0.025, "left_ear": 0.035, "right_ear": 0.035,
    "left_shoulder": 0.079, "right_shoulder": 0.079, "left_elbow": 0.072, "right_elbow": 0.072,
    "left_wrist": 0.062, "right_wrist": 0.062, "left_hip": 0.107, "right_hip": 0.107,
    "left_knee": 0.087, "right_knee": 0.087, "left_ankle": 0.089, "right_ankle": 0.089,
}  # fmt: skip

_RECALLS = np.linspace(0, 1, 101)
_THRESHOLDS = np.linspace(0.5, 0.95, 10)


def find_sigmas(sigmas: str | float | Sequence[float], names: Sequence[str]) -> np.ndarray:
    """Return a sigma per keypoint (K,): COCO's by name, one for all, or one each.

    Raises ValueError for "coco" with other keypoints than its 17, for another word, for a list of another length,
    and for a number that is not positive.

    >>> find_sigmas(0.05, ["nose", "tail"]).tolist()
    [0.05, 0.05]
    """
    if isinstance(sigmas, str):
        if sigmas != "coco":
            raise ValueError(f"oks_sigmas={sigmas!r}: give coco, one number for all keypoints, or a list of one each")
        if set(names) != set(COCO_SIGMAS):
            raise ValueError(
                f"oks_sigmas=coco is defined for COCO's 17 keypoints of people, not for {', '.join(names)};"
                " give one number, or a list of one for each keypoint"
            )
        return np.array([COCO_SIGMAS[name] for name in names])
    try:
        values = np.asarray(None if isinstance(sigmas, bool) else sigmas, dtype=float)
    except ValueError:
        values = np.asarray(np.nan)
    if values.ndim > 1 or (values.ndim == 1 and len(values) != len(names)):
        raise ValueError(f"oks_sigmas has {values.size} numbers, but there are {len(names)} keypoints")
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError(f"oks_sigmas={sigmas} must be positive: fractions of the subject's size")
    return np.broadcast_to(values, (len(names),)).copy()


def evaluator() -> tuple[Any, Any]:
    """Return COCO's modules `coco` and `cocoeval`; ImportError with the install command unless they are there."""
    return require("pycocotools.coco", "eval", "OKS"), require("pycocotools.cocoeval", "eval", "OKS")


@dataclass(frozen=True, eq=False)
class Matches:
    """Matches by COCO's evaluator: D detections at T thresholds, and the number of subjects of each unit."""

    scores: np.ndarray  # (D,)
    hits: np.ndarray  # bool (T, D): matched with a subject
    counted: np.ndarray  # bool (T, D): not ignored
    owner: np.ndarray  # (D,), the unit each belongs to
    positives: np.ndarray  # (units,)


class Truths(NamedTuple):
    """N labeled subjects and crowds of numbered images."""

    image: np.ndarray  # int (N,)
    keypoints: np.ndarray  # (N, K, 2)
    visibility: np.ndarray  # (N, K); a subject without a point above 0 is neither to be found nor wrong
    areas: np.ndarray  # (N,) in px^2
    boxes: np.ndarray  # (N, 4) left, top, right, bottom; used only where no point is labeled
    crowd: np.ndarray  # bool (N,): a box in which any number of subjects may be


class Detections(NamedTuple):
    """D detections in numbered images."""

    image: np.ndarray  # int (D,)
    keypoints: np.ndarray  # (D, K, 2)
    score: np.ndarray  # (D,)
    unknown: np.ndarray  # bool (D,): where nothing is known of subjects, so that it is not wrong if it matches none


def match(results: Results, sigmas: np.ndarray, unit: np.ndarray) -> Matches:
    """Return every subject's prediction as one detection, matched with the subjects of its image at ten thresholds.

    A subject without a labeled point or an area (see `subject_areas`) is left out, and so is its prediction.
    Raises ValueError where all are.
    """
    if not len(kept := np.flatnonzero(results.labeled.any(1) & (subject_areas(results) > 0))):
        raise ValueError("no subject has a labeled point and an area")
    units, results, unit = int(unit.max()) + 1, results.select(kept), unit[kept]
    numbers = {image: i for i, image in enumerate(dict.fromkeys(results.images))}
    image = np.array([numbers[name] for name in results.images])
    none, places = np.zeros(len(image), bool), np.zeros((len(image), 4))
    areas, scores = subject_areas(results), results.confidence.mean(1)
    truths = Truths(image, results.truth, results.visibility, areas, places, none)
    detections = Detections(image, results.keypoints, scores, none)
    return match_detections(truths, detections, sigmas, unit[np.unique(image, return_index=True)[1]], units)


def match_detections(
    truths: Truths, detections: Detections, sigmas: np.ndarray, unit: np.ndarray, units: int
) -> Matches:
    """Return detections matched with the subjects of their images at ten thresholds; image i is of `unit[i]`."""
    coco, cocoeval = evaluator()
    with redirect_stdout(io.StringIO()):  # it prints its progress
        judge = cocoeval.COCOeval(
            _indexed(coco, len(unit), _truth_entries(truths)),
            _indexed(coco, len(unit), _detection_entries(detections)),
            "keypoints",
        )
        judge.params.kpt_oks_sigmas = sigmas
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.params.maxDets = [max(20, *np.bincount(detections.image, minlength=1).tolist())]
        judge.evaluate()
    images = [entry for entry in judge.evalImgs if entry is not None]
    positives = np.zeros(units)
    for entry in images:
        positives[unit[entry["image_id"] - 1]] += np.sum(np.asarray(entry["gtIgnore"]) == 0)
    empty = np.zeros((len(_THRESHOLDS), 0))
    hits = np.concatenate([empty, *(entry["dtMatches"] for entry in images)], axis=1) > 0
    ignored = np.concatenate([empty, *(entry["dtIgnore"] for entry in images)], axis=1) > 0
    order = np.array([number - 1 for entry in images for number in entry["dtIds"]], int)
    return Matches(
        detections.score[order],
        hits,
        ~(ignored | ~hits & detections.unknown[order]),
        unit[detections.image[order]],
        positives,
    )


def subject_areas(results: Results) -> np.ndarray:
    """Return areas (N,) in px^2: of the outlines that the labels give, as in COCO, else of boxes; NaN for neither."""
    boxes = box_areas(results)
    return boxes if results.areas is None else np.where(np.isfinite(results.areas), results.areas, boxes)


def average_precision(matches: Matches, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Return oks_ap, oks_ap50, oks_ap75 and oks_ar (draws,), each unit repeated as often as a row of `counts` states.

    Precision is read at 101 recalls from the envelope of the curve, as COCO's evaluator accumulates it; NaN in a
    draw without a subject to find.
    """
    order = np.argsort(-matches.scores, kind="mergesort")
    hits, counted = matches.hits[:, order] & matches.counted[:, order], matches.counted[:, order]
    curves = np.array([_curve(hits, counted, row[matches.owner[order]], row @ matches.positives) for row in counts])
    precision, recall = curves[..., 0], curves[..., 1]
    return {
        "oks_ap": precision.mean(1),
        "oks_ap50": precision[:, 0],
        "oks_ap75": precision[:, 5],
        "oks_ar": recall.mean(1),
    }


def _curve(hits: np.ndarray, counted: np.ndarray, weights: np.ndarray, positives: float) -> np.ndarray:
    """Average precision and recall (T, 2) of ranked detections (T, D), repeated by `weights` (D,)."""
    if not positives:
        return np.full((len(hits), 2), np.nan)
    right, wrong = np.cumsum(hits * weights, 1), np.cumsum((counted & ~hits) * weights, 1)
    recall = right / positives
    precision = right / (right + wrong + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    result = np.zeros((len(hits), 2))
    for t, (levels, heights) in enumerate(zip(recall, envelope, strict=True)):
        places = np.searchsorted(levels, _RECALLS, side="left")
        result[t, 0] = np.append(heights, 0.0)[places].mean()
        result[t, 1] = levels[-1] if len(levels) else 0.0
    return result


def _indexed(coco: Any, images: int, annotations: list[dict[str, Any]]) -> Any:
    """COCO's index of annotations, whose ids are counted from 1, as 0 stands for no match."""
    index = coco.COCO()
    index.dataset = {
        "images": [{"id": i + 1} for i in range(images)],
        "categories": [{"id": 1}],
        "annotations": [{"id": i, "category_id": 1, **entry} for i, entry in enumerate(annotations, 1)],
    }
    index.createIndex()
    return index


def _truth_entries(truths: Truths) -> list[dict[str, Any]]:
    return [
        {
            "image_id": int(image) + 1,
            "iscrowd": int(crowd),
            "num_keypoints": int((states > 0).sum()),
            "keypoints": _triplets(points, states.clip(0)),
            "area": float(area),
            "bbox": [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()],
        }
        for image, points, states, area, box, crowd in zip(*truths, strict=True)
    ]


def _detection_entries(detections: Detections) -> list[dict[str, Any]]:
    ones = np.ones(detections.keypoints.shape[1], int)
    return [
        # The area decides only in COCO's ranges of areas, of which the one here holds all.
        {"image_id": int(image) + 1, "keypoints": _triplets(points, ones), "score": float(score), "area": 1.0}
        for image, points, score, _ in zip(*detections, strict=True)
    ]


def _triplets(points: np.ndarray, states: np.ndarray) -> list[float]:
    return np.concatenate([np.nan_to_num(points), states[:, None]], axis=1).ravel().tolist()
