"""All numbers of one evaluated split, with their intervals: what metrics.json holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from softpoint.data.skeleton import Skeleton
from softpoint.evaluation.bootstrap import draw_counts, find_units, interval, mean_draws, quantile_draws
from softpoint.evaluation.measures import DEFINITIONS, QUANTILES, find_pair, point_measures, summarize
from softpoint.evaluation.oks import average_precision, check_evaluator, find_sigmas, match
from softpoint.evaluation.reliability import FRACTION, reliability
from softpoint.evaluation.results import Results

Sigmas = str | float | Sequence[float]

DRAWS = 2000
# Calibration is computed anew on every resample, one by one.
_SLOW_DRAWS = 200
_OKS = ("oks_ap", "oks_ap50", "oks_ap75", "oks_ar")
_CALIBRATION = ("ece", "coverage_50", "coverage_90", "rank_correlation")


def evaluate(
    results: Results,
    *,
    oks_sigmas: Sigmas | None = None,
    nme_pair: Sequence[str] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    fraction: float = FRACTION,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What metrics.json holds: overall numbers with their 95 % intervals, and numbers of parts of the points.

    Args:
        oks_sigmas: "coco", one number or one each; without them OKS is not measured (see `find_sigmas`).
        nme_pair: the two keypoints whose distance `nme_pair` divides by.
        draws, seed: of the bootstrap (see `bootstrap`).
        fraction: of the subject's scale, that a confidence is the probability of (see `reliability`).
        about: what else the output says first, such as checkpoint, data and split.

    Nothing in it is NaN: what cannot be measured is absent, and `skipped` says why. Raises ValueError for results
    of no subject, sigmas that do not fit and a pair that is none, ImportError for sigmas without COCO's evaluator.
    """
    if not len(results):
        raise ValueError("there is nothing to evaluate: the split has no image")
    measures, skipped = point_measures(results, nme_pair), {}
    unit, kind = find_units(results.images, results.groups)
    counts = draw_counts(int(unit.max()) + 1, draws, seed)
    if counts.shape[1] < 2:
        skipped["intervals"] = f"a single {kind.removesuffix('s')} says nothing about others"
    overall = _overall(measures, unit, counts)
    overall |= _oks(results, oks_sigmas, unit, counts, skipped) | _calibration(results, fraction, unit, counts, skipped)
    for name in (*measures, "nme_pair"):
        if name not in overall:
            skipped[name] = _why_not(name, nme_pair, bool(results.labelled.any()))
    return {
        **(about or {}),
        "images": len(set(results.images)),
        "subjects": len(results),
        "points": int(results.labelled.sum()),
        "resampled": {"unit": kind, "units": counts.shape[1], "draws": draws},
        "overall": overall,
        **_parts(results, measures, skipped),
        "skipped": skipped,
        "definitions": {name: DEFINITIONS[name] for name in overall},
    }


def check_asked(skeleton: Skeleton, oks_sigmas: Sigmas | None = None, nme_pair: Sequence[str] | None = None) -> None:
    """Raises what `evaluate` would for these, before anything is predicted."""
    if oks_sigmas is not None:
        check_evaluator()
        find_sigmas(oks_sigmas, skeleton.names)
    if nme_pair is not None:
        find_pair(nme_pair, skeleton)


def draws_of(name: str, values: np.ndarray, unit: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The number called `name` of point values (N, K) in each resample (draws,)."""
    if name in QUANTILES:
        return quantile_draws(values, unit, counts, QUANTILES[name])
    return mean_draws(values, unit, counts)


def _overall(measures: Mapping[str, np.ndarray], unit: np.ndarray, counts: np.ndarray) -> dict[str, dict[str, float]]:
    found = {name: summarize(name, values) for name, values in measures.items()}
    return {
        name: _with_ends(value, draws_of(name, measures[name], unit, counts), counts)
        for name, value in found.items()
        if value is not None
    }


def _with_ends(value: float, draws: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    """The value and the ends of its interval, where there is more than one unit to draw."""
    ends = interval(draws) if counts.shape[1] > 1 else None
    return {"value": value} if ends is None else {"value": value, "low": ends[0], "high": ends[1]}


def _why_not(name: str, nme_pair: Sequence[str] | None, labelled: bool) -> str:
    if name == "nme_pair" and nme_pair is None:
        return "no nme_pair=[FIRST,SECOND] names two keypoints"
    if not labelled:
        return "no point is labelled"
    return "no subject has both points of the pair" if name == "nme_pair" else "no labelled subject has a box"


def _oks(
    results: Results, sigmas: Sigmas | None, unit: np.ndarray, counts: np.ndarray, skipped: dict[str, str]
) -> dict[str, dict[str, float]]:
    """COCO's numbers; without sigmas none, because a guessed one would decide them."""
    if sigmas is None:
        skipped |= dict.fromkeys(_OKS, "no oks_sigmas say how exactly each keypoint can be labelled")
        return {}
    check_evaluator()
    per_point = find_sigmas(sigmas, results.skeleton.names)
    try:
        matches = match(results, per_point, unit)
    except ValueError as error:
        skipped |= dict.fromkeys(_OKS, str(error))
        return {}
    values = average_precision(matches, np.ones((1, counts.shape[1])))
    drawn = average_precision(matches, counts) if counts.shape[1] > 1 and len(counts) else {}
    return {name: _with_ends(float(values[name][0]), drawn.get(name, np.empty(0)), counts) for name in _OKS}


def _calibration(
    results: Results, fraction: float, unit: np.ndarray, counts: np.ndarray, skipped: dict[str, str]
) -> dict[str, dict[str, float]]:
    """What `reliability` says of confidences and covariances."""
    found = {name: value for name, value in reliability(results, fraction).items() if np.isfinite(value)}
    few = counts[:_SLOW_DRAWS] if found and counts.shape[1] > 1 else counts[:0]
    resampled = [reliability(results.select(_rows(unit, row)), fraction) for row in few]
    for name in _CALIBRATION:
        if name not in found:
            skipped[name] = "too few labelled points"
    return {
        name: _with_ends(float(value), np.array([draw.get(name, np.nan) for draw in resampled]), counts)
        for name, value in found.items()
    }


def _rows(unit: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The subjects of one resample, each as often as its unit was drawn."""
    return np.repeat(np.arange(len(unit)), counts[unit].astype(int))


def _parts(results: Results, measures: Mapping[str, np.ndarray], skipped: dict[str, str]) -> dict[str, Any]:
    """The numbers of each keypoint, each group, and visible and hidden points apart."""
    found: dict[str, Any] = {"keypoints": {}, "groups": {}}
    for path, mask in _masks(results):
        counted = int((mask & results.labelled).sum())
        entry: dict[str, Any] = {"points": counted}
        for name, values in measures.items():
            value = summarize(name, values[mask])
            if value is not None:
                entry[name] = value
        if not counted:
            skipped[".".join(path)] = "no such point is labelled"
        if len(path) == 1:
            found[path[0]] = entry
        else:
            found[path[0]][path[1]] = entry
    return found


def _masks(results: Results) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Which points (N, K) belong to each part, by where it stands in the output."""
    blank = np.zeros_like(results.labelled)
    for k, name in enumerate(results.skeleton.names):
        yield ("keypoints", name), blank | (np.arange(blank.shape[1]) == k)
    groups = np.array(results.groups)
    for group in dict.fromkeys(results.groups):
        yield ("groups", group), blank | (groups == group)[:, None]
    yield ("visible",), results.visibility == 2
    yield ("occluded",), results.visibility == 1
