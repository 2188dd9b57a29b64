"""All numbers of one evaluated split, with their intervals: what metrics.json holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from softpoint.evaluation.bootstrap import draw_counts, find_units, interval
from softpoint.evaluation.measures import DEFINITIONS, find_pair, point_measures, scaled_by_image, summarize
from softpoint.evaluation.metrics_with_intervals import SLOW_DRAWS, Drawn, Sigmas, of_calibration, of_oks, of_points
from softpoint.evaluation.oks import check_evaluator, find_sigmas
from softpoint.evaluation.reliability import FRACTION
from softpoint.evaluation.results import Results
from softpoint.labels.skeleton import Skeleton

DRAWS = 2000


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
    numbers = of_points(measures, unit, counts) | of_oks(results, oks_sigmas, unit, counts, skipped)
    numbers |= of_calibration(results, fraction, unit, counts, skipped)
    for name in (*measures, "nme_pair"):
        if name not in numbers:
            skipped[name] = _why_not(name, nme_pair, bool(results.labeled.any()))
    return {
        **(about or {}),
        "images": len(set(results.images)),
        "subjects": len(results),
        "points": int(results.labeled.sum()),
        **asked(results.skeleton, oks_sigmas, nme_pair),
        "resampled": resampled(kind, counts, seed),
        "overall": {name: _with_ends(drawn) | _fewer(measures.get(name), results) for name, drawn in numbers.items()},
        **_parts(results, measures, skipped),
        "noted": _noted(results),
        "skipped": skipped,
        "definitions": {name: DEFINITIONS[name] for name in numbers},
    }


def asked(skeleton: Skeleton, oks_sigmas: Sigmas | None, nme_pair: Sequence[str] | None) -> dict[str, Any]:
    """As the output says it: the sigma of each keypoint, and the pair; None for what was not asked for."""
    return {
        "oks_sigmas": None if oks_sigmas is None else find_sigmas(oks_sigmas, skeleton.names).tolist(),
        "nme_pair": None if nme_pair is None else list(nme_pair),
    }


def resampled(kind: str, counts: np.ndarray, seed: int) -> dict[str, Any]:
    """As the output says it: what was drawn, how many of them, how often, and from which seed."""
    draws, units = counts.shape
    return {
        "unit": kind,
        "units": units,
        "draws": draws,
        "draws_of_calibration": min(draws, SLOW_DRAWS),
        "seed": seed,
    }


def check_asked(skeleton: Skeleton, oks_sigmas: Sigmas | None = None, nme_pair: Sequence[str] | None = None) -> None:
    """Raises what `evaluate` would for these, before anything is predicted."""
    if oks_sigmas is not None:
        check_evaluator()
        find_sigmas(oks_sigmas, skeleton.names)
    if nme_pair is not None:
        find_pair(nme_pair, skeleton)


def _with_ends(drawn: Drawn) -> dict[str, float]:
    """The value and the ends of its interval, where resamples tell them."""
    ends = interval(drawn.draws)
    return {"value": drawn.value} if ends is None else {"value": drawn.value, "low": ends[0], "high": ends[1]}


def _fewer(values: np.ndarray | None, results: Results) -> dict[str, int]:
    """On how many points a number is measured, where it is not on all that are labeled."""
    count = int(results.labeled.sum()) if values is None else int(np.isfinite(values).sum())
    return {} if count == results.labeled.sum() else {"points": count}


def _why_not(name: str, nme_pair: Sequence[str] | None, labeled: bool) -> str:
    if name == "nme_pair" and nme_pair is None:
        return "no nme_pair=[FIRST,SECOND] names two keypoints"
    if not labeled:
        return "no point is labeled"
    return "no subject has both points of the pair" if name == "nme_pair" else "no labeled subject has a box"


def _noted(results: Results) -> list[str]:
    """What a reader should know of the numbers."""
    if not (count := int(scaled_by_image(results).sum())):
        return []
    return [
        f"of {count} of {len(results)} subjects, which have neither a box nor two labeled points, the scale is the"
        " diagonal of the image"
    ]


def _parts(results: Results, measures: Mapping[str, np.ndarray], skipped: dict[str, str]) -> dict[str, Any]:
    """The numbers of each keypoint, each group, and visible and hidden points apart."""
    found: dict[str, Any] = {"keypoints": {}, "groups": {}}
    for path, mask in _masks(results):
        counted = int((mask & results.labeled).sum())
        entry: dict[str, Any] = {"points": counted}
        for name, values in measures.items():
            value = summarize(name, values[mask])
            if value is not None:
                entry[name] = value
        if not counted:
            skipped[".".join(path)] = "no such point is labeled"
        if len(path) == 1:
            found[path[0]] = entry
        else:
            found[path[0]][path[1]] = entry
    return found


def _masks(results: Results) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Which points (N, K) belong to each part, by where it stands in the output."""
    blank = np.zeros_like(results.labeled)
    for k, name in enumerate(results.skeleton.names):
        yield ("keypoints", name), blank | (np.arange(blank.shape[1]) == k)
    groups = np.array(results.groups)
    for group in dict.fromkeys(results.groups):
        yield ("groups", group), blank | (groups == group)[:, None]
    yield ("visible",), results.visibility == 2
    yield ("occluded",), results.visibility == 1
