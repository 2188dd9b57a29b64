"""All numbers about found subjects, with their intervals: what metrics.json has under "finding"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from softpoint.evaluation.intervals import DRAWS, OKS, Drawn, Resamples, Sigmas, centered
from softpoint.evaluation.oks import (
    COCO_SIGMAS,
    Detections,
    Matches,
    Truths,
    average_precision,
    evaluator,
    find_sigmas,
    match_detections,
)
from softpoint.evaluation.subjects.matching import (
    DISTANCE,
    OKS_LEVEL,
    Outcomes,
    by_distance,
    by_oks,
    match_subjects,
    subject_areas,
    unknown_places,
)
from softpoint.evaluation.subjects.measures import (
    OVERLAP,
    crowded_subjects,
    describe,
    error_measures,
    found_errors,
    has_unknown,
    image_ratios,
    subject_ratios,
)
from softpoint.evaluation.subjects.results import SubjectResults
from softpoint.metrics.calibration import BINS, expected_calibration_error

THRESHOLD = 0.5
SIGMA = 0.05  # of each keypoint, where none is given: between those of COCO's wrists and eyes
RULES = ("oks", "distance")
_CURVE = np.linspace(0, 1, 21)
_DISTANCES = (0.005, 0.01, 0.02, 0.05)


def measure_subjects(
    results: SubjectResults,
    *,
    oks_sigmas: Sigmas | None = None,
    threshold: float = THRESHOLD,
    level: float = OKS_LEVEL,
    distance: float = DISTANCE,
    overlap: float = OVERLAP,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """Return every number about what is found in images, with 95 % intervals where there are units enough.

    Args:
        oks_sigmas: as for `find_sigmas`; None for COCO's where the keypoints are its 17, else 0.05 for all.
        threshold: of the score, from which on a subject counts as found; average precision counts all.
        level: OKS from which on a found subject is a labeled one, where they are matched by OKS.
        distance: as a fraction of the image's diagonal, up to which it is one, where they are matched by distance.
        overlap: of the boxes of two subjects (IoU), above which they are crowded.
        draws, seed: of the bootstrap.

    No value is NaN: what cannot be measured is absent, and `skipped` gives the reason. Raises ValueError for no image.
    """
    if not len(results):
        raise ValueError("there is nothing to evaluate: the split has no image")
    check_limits(threshold, level, distance, overlap)
    sigmas, resamples = subject_sigmas(results, oks_sigmas), Resamples.of(results, draws, seed)
    rules = {"oks": by_oks(sigmas, level), "distance": by_distance(distance)}
    outcomes = {name: match_subjects(results, rule) for name, rule in rules.items()}
    matched, crowded, skipped = outcomes["oks"], crowded_subjects(results, overlap), resamples.without_intervals()
    measured = {
        "average_precision": _average_precision(results, sigmas, resamples, matched, skipped),
        **{name: _measures(results, own, threshold, crowded, resamples) for name, own in outcomes.items()},
        "distances": _within_distances(results, {*_DISTANCES, distance}, threshold),
        "counts": _counts(results, matched, threshold),
        "score": _score(results, matched, resamples),
    }
    return {
        "images": len(results),
        "subjects": int(matched.measured.sum()),
        "crowded": int((crowded & matched.measured).sum()),
        "found": int((results.found.score >= threshold).sum()),
        "threshold": threshold,
        "oks_level": level,
        "distance_limit": distance,
        "overlap": overlap,
        "oks_sigmas": sigmas.tolist(),
        "resampled": resamples.to_dict(),
        **measured,
        "notes": [resamples.describe(), *_notes(results, matched, oks_sigmas is None, sigmas)],
        "skipped": skipped,
        "definitions": describe(_names(measured)),
    }


def check_limits(
    threshold: float = THRESHOLD, level: float = OKS_LEVEL, distance: float = DISTANCE, overlap: float = OVERLAP
) -> None:
    """Raise ValueError for limits of `measure_subjects` that are no numbers from 0 to 1, by the names of their keys."""
    limits = {"subject_threshold": threshold, "finding.oks": level, "finding.distance": distance}
    for key, value in {**limits, "finding.overlap": overlap}.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"{key}={value} must be a number from 0 to 1")


def subject_sigmas(results: SubjectResults, sigmas: Sigmas | None) -> np.ndarray:
    """Return the sigma of each keypoint (K,), where none is given COCO's or one for all.

    Raises ValueError as `find_sigmas` does.
    """
    names = results.skeleton.names
    if sigmas is None:
        sigmas = "coco" if set(names) == set(COCO_SIGMAS) else SIGMA
    return find_sigmas(sigmas, names)


def coco_matches(results: SubjectResults, sigmas: np.ndarray, outcomes: Outcomes, resamples: Resamples) -> Matches:
    """Return the found subjects matched by COCO's evaluator, to which crowds are crowds.

    Subjects that cannot be measured have no points there, and so are neither to be found nor wrong.
    """
    labeled, found, crowds = results.labeled, results.found, len(results.crowds)
    K, known = len(results.skeleton), outcomes.measured
    areas = (results.crowds[:, 2:] - results.crowds[:, :2]).clip(min=0).prod(1)
    truths = Truths(
        np.concatenate([results.labeled_in, results.crowds_in]),
        np.concatenate([labeled.keypoints, np.full((crowds, K, 2), np.nan)]),
        np.concatenate([labeled.visibility * known[:, None], np.zeros((crowds, K), int)]),
        np.concatenate([subject_areas(results), areas]),
        np.concatenate([labeled.boxes, results.crowds]),
        np.repeat([False, True], [len(known), crowds]),
    )
    partly = ~results.complete[results.found_in]
    unknown = partly & unknown_places(results, known)
    detections = Detections(results.found_in, found.keypoints, found.score, unknown)
    return match_detections(truths, detections, sigmas, resamples.unit, resamples.units)


def _average_precision(
    results: SubjectResults, sigmas: np.ndarray, resamples: Resamples, outcomes: Outcomes, skipped: dict[str, str]
) -> dict[str, dict[str, float]]:
    """COCO's metrics; adds the reason to `skipped` where they cannot be measured."""
    try:
        evaluator()
    except ImportError as error:
        skipped |= dict.fromkeys(OKS, str(error))
        return {}
    if not outcomes.measured.any():
        skipped |= dict.fromkeys(OKS, "no subject has a labeled point and an area")
        return {}
    matches = coco_matches(results, sigmas, outcomes, resamples)
    values = average_precision(matches, np.ones((1, resamples.units)))
    drawn = average_precision(matches, resamples.counts) if len(resamples.counts) else {}
    return {
        name: Drawn(float(values[name][0]), drawn.get(name, np.empty(0)), resamples.units).to_dict() for name in OKS
    }


def _names(measured: Mapping[str, Any]) -> set[str]:
    """The names of what was measured of all subjects and of parts of them."""
    parts = [measured[rule][part] for rule in RULES for part in ("overall", "isolated", "crowded")]
    score = ["score_ece"] * bool(measured["score"])
    return {*measured["average_precision"], *score, *(name for part in parts for name in part)}


def _measures(
    results: SubjectResults, outcomes: Outcomes, threshold: float, crowded: np.ndarray, resamples: Resamples
) -> dict[str, Any]:
    """The numbers of one way to match: of all subjects, of crowded and isolated ones, and of keypoints."""
    errors, every = found_errors(results, outcomes, threshold), np.ones(len(crowded), bool)
    overall = _drawn(image_ratios(results, outcomes, threshold), resamples)
    parts: dict[str, Any] = {"overall": overall | _errors(results, errors, resamples, every)}
    for name, part in (("isolated", ~crowded), ("crowded", crowded)):
        parts[name] = {"subjects": int((part & outcomes.measured).sum())}
        parts[name] |= _drawn(subject_ratios(results, outcomes, threshold, part), resamples)
        parts[name] |= _errors(results, errors, resamples, part)
    parts["keypoints"] = {
        name: {"points": int(np.isfinite(errors[:, k]).sum())} | _errors(results, errors[:, [k]], resamples, every)
        for k, name in enumerate(results.skeleton.names)
    }
    parts["curve"] = [_at_threshold(results, outcomes, float(value)) for value in _CURVE]
    return parts


def _drawn(ratios: Mapping[str, Any], resamples: Resamples) -> dict[str, dict[str, float]]:
    drawn = {name: ratio.to_dict(resamples) for name, ratio in ratios.items()}
    return {name: entry for name, entry in drawn.items() if entry is not None}


def _errors(
    results: SubjectResults, errors: np.ndarray, resamples: Resamples, part: np.ndarray
) -> dict[str, dict[str, float]]:
    return {name: drawn.to_dict() for name, drawn in error_measures(results, errors, resamples, part).items()}


def _at_threshold(results: SubjectResults, outcomes: Outcomes, threshold: float) -> dict[str, float]:
    """Precision, recall and false finds an image where subjects count as found from a threshold on."""
    kept = results.found.score >= threshold
    right, wrong = int(outcomes.right(kept).sum()), int(outcomes.wrong(kept).sum())
    point = {"threshold": threshold, "false_per_image": wrong / len(results)}
    if right + wrong:
        point["precision"] = right / (right + wrong)
    if subjects := int(outcomes.measured.sum()):
        point["recall"] = int(outcomes.seen(kept).sum()) / subjects
    return point


def _within_distances(results: SubjectResults, limits: Iterable[float], threshold: float) -> list[dict[str, float]]:
    """Precision, recall and false finds an image where subjects match within each of the distances."""
    return [
        {"within": limit, **_at_threshold(results, match_subjects(results, by_distance(limit)), threshold)}
        for limit in sorted(limits)
    ]


def _counts(results: SubjectResults, outcomes: Outcomes, threshold: float) -> list[dict[str, int]]:
    """In how many images so many subjects are found where so many are labeled; without those where some are unknown."""
    images, known = len(results), results.complete & ~has_unknown(results, outcomes)
    labeled = np.bincount(results.labeled_in, minlength=images)[known].tolist()
    kept = results.found_in[results.found.score >= threshold]
    found = np.bincount(kept, minlength=images)[known].tolist()
    pairs = Counter(zip(labeled, found, strict=True))
    return [{"labeled": a, "found": b, "images": count} for (a, b), count in sorted(pairs.items())]


def score_hits(results: SubjectResults, outcomes: Outcomes) -> tuple[np.ndarray, np.ndarray]:
    """Return the score (P,) of each found subject that is right or wrong, and whether it is right."""
    counted = ~outcomes.ignored
    return results.found.score[counted], outcomes.subject[counted] >= 0


def _score(results: SubjectResults, outcomes: Outcomes, resamples: Resamples) -> dict[str, Any]:
    """The calibration of the score of all found subjects, matched by OKS, and their rates in tenths of the score."""
    score, right = score_hits(results, outcomes)
    if not len(score):
        return {}
    tenth = np.clip((score * BINS).astype(int), 0, BINS - 1)
    unit = resamples.unit[results.found_in[~outcomes.ignored]]
    sums = np.bincount(unit * BINS + tenth, score - right, resamples.units * BINS).reshape(-1, BINS)
    sizes = resamples.counts @ np.bincount(unit, minlength=resamples.units)
    draws = np.full(len(sizes), np.nan)
    np.divide(np.abs(resamples.counts @ sums).sum(1), sizes, out=draws, where=sizes > 0)
    error = Drawn(expected_calibration_error(score, right), draws, len(np.unique(unit)))
    curve = [
        {"found": int(part.sum()), "score": float(score[part].mean()), "right": float(right[part].mean())}
        for part in (tenth == i for i in range(BINS))
        if part.any()
    ]
    return {"ece": centered(error).to_dict(), "curve": curve}


def _notes(results: SubjectResults, outcomes: Outcomes, default: bool, sigmas: np.ndarray) -> list[str]:
    """Remarks that a reader of the numbers needs."""
    notes = []
    if default and (sigmas == SIGMA).all():
        notes.append(f"oks_sigmas is not set: OKS is measured with {SIGMA} for every keypoint")
    if partly := int((~results.complete).sum()):
        notes.append(
            f"{partly} of {len(results)} images are not completely labeled: what is found in them outside the boxes of"
            " labeled subjects is neither right nor wrong"
        )
    if crowds := len(results.crowds):
        notes.append(f"what is found in {crowds} crowds, and is no labeled subject, is neither right nor wrong")
    if left_out := int((~outcomes.measured).sum()):
        notes.append(
            f"{left_out} labeled subjects have no labeled point or no area: they need not be found, and what is found"
            " in their boxes is neither right nor wrong"
        )
    return notes
