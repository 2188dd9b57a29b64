"""All metrics of one evaluated split, with their intervals: the content of metrics.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from softpoint.evaluation.intervals import (
    DRAWS,
    Resamples,
    Sigmas,
    find_pair,
    oks_metrics,
    point_columns,
    point_metrics,
    set_metrics,
)
from softpoint.evaluation.oks import evaluator, find_sigmas
from softpoint.evaluation.regions import measure_regions
from softpoint.evaluation.results import Results, group_rows
from softpoint.evaluation.risk import Risk, measure_risk
from softpoint.inference.regions import SETS, Regions
from softpoint.labels.skeleton import Skeleton
from softpoint.metrics.calibration import FRACTION, confidence_quarters, confidences_and_hits
from softpoint.metrics.columns import COLUMNS, SCALE, Column
from softpoint.metrics.functional import label_extents


def evaluate(
    results: Results,
    *,
    oks_sigmas: Sigmas | None = None,
    nme_pair: Sequence[str] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    fraction: float = FRACTION,
    regions: Regions | None = None,
    sets: Regions | None = None,
    risk: Risk | None = None,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the content of metrics.json: overall metrics with 95 % intervals, and metrics of parts of the points.

    Args:
        oks_sigmas: "coco", one number or one per keypoint; without them OKS is not measured (see `find_sigmas`).
        nme_pair: the two keypoints whose distance `nme_pair` divides by.
        draws, seed: of the bootstrap (see `bootstrap`).
        fraction: of the subject's scale; a confidence is the probability of an error up to it.
        regions, sets: ellipses and heatmap sets of the model, which were not fitted on these images.
        risk: that the threshold of confidence is to keep, see `measure_risk`.
        about: entries that come first in the output, such as checkpoint, data and split.

    No value is NaN: a metric that cannot be measured is absent, and `skipped` gives the reason. Raises ValueError for
    results without subjects and for sigmas or a pair that do not fit, ImportError for sigmas without COCO's evaluator.
    """
    if not len(results):
        raise ValueError("there is nothing to evaluate: the split has no image")
    columns = point_columns(results, nme_pair)
    values = {column.name: column.values(results) for column in columns if column.values is not None}
    resamples = Resamples.of(results, draws, seed)
    skipped = resamples.without_intervals()
    metrics = point_metrics(columns, values, resamples) | oks_metrics(results, oks_sigmas, resamples, skipped)
    metrics |= set_metrics(results, fraction, resamples, skipped)
    labeled = int(results.labeled.sum())
    for name in COLUMNS:
        if name not in metrics and name not in skipped:
            skipped[name] = _reason(COLUMNS[name], results, nme_pair)
    overall: dict[str, dict[str, float]] = {name: metrics[name].to_dict() for name in COLUMNS if name in metrics}
    for name in values.keys() & overall.keys():
        if (count := int(np.isfinite(values[name]).sum())) != labeled:
            overall[name]["points"] = count
    return {
        **(about or {}),
        "images": len(set(results.images)),
        "subjects": len(results),
        "points": labeled,
        **settings(results.skeleton, oks_sigmas, nme_pair),
        "resampled": resamples.to_dict(),
        "overall": overall,
        **_parts(results, values, skipped),
        "confidence_quarters": _quarters(results, values, fraction),
        "regions": measure_regions(regions, results, resamples) if regions is not None and labeled else [],
        **({SETS: measure_regions(sets, results, resamples)} if sets is not None and labeled else {}),
        **({"risk": measure_risk(results, risk)} if risk is not None and labeled else {}),
        "notes": [resamples.describe(), *_notes(results)],
        "skipped": skipped,
        "definitions": definitions(overall),
    }


def settings(skeleton: Skeleton, oks_sigmas: Sigmas | None, nme_pair: Sequence[str] | None) -> dict[str, Any]:
    """The sigma of each keypoint and the pair, as metrics.json states them; None for what is not set."""
    return {
        "oks_sigmas": None if oks_sigmas is None else find_sigmas(oks_sigmas, skeleton.names).tolist(),
        "nme_pair": None if nme_pair is None else list(nme_pair),
    }


def definitions(names: Mapping[str, Any]) -> dict[str, str]:
    """The definition of each metric, and of the scale that some divide by, for a file that is read without this one."""
    units = {name: f" in {unit}" if (unit := COLUMNS[name].unit) else "" for name in names}
    places = {name: " of the original images" if COLUMNS[name].unit.startswith("px") else "" for name in names}
    return {n: f"{COLUMNS[n].description}{units[n]}{places[n]}" for n in names} | {"scale": SCALE}


def check_settings(skeleton: Skeleton, oks_sigmas: Sigmas | None = None, nme_pair: Sequence[str] | None = None) -> None:
    """Raise the errors of `evaluate` for these settings, before anything is predicted."""
    if oks_sigmas is not None:
        evaluator()
        find_sigmas(oks_sigmas, skeleton.names)
    if nme_pair is not None:
        find_pair(nme_pair, skeleton)


def _reason(column: Column, results: Results, nme_pair: Sequence[str] | None) -> str:
    """Why a metric of points is not measured."""
    if column.name == "nme_pair" and nme_pair is None:
        return "nme_pair=[FIRST,SECOND] is not set"
    if column.unit == "mm" and results.plane is None:
        return "neither data.mm_per_pixel nor data.homography is set"
    if not results.labeled.any():
        return "no point is labeled"
    return "no subject has both points of the pair" if column.name == "nme_pair" else "no labeled subject has a box"


def _notes(results: Results) -> list[str]:
    """Remarks that a reader of the metrics needs: how many subjects have the image's diagonal as their scale."""
    boxed = np.zeros(len(results), bool) if results.boxes is None else np.isfinite(results.boxes).all(-1)
    extended = (label_extents(results) > 0).any(-1)
    by_image = np.isclose(results.scale, np.hypot(*results.size.T))
    count = int((results.labeled.any(-1) & ~boxed & ~extended & by_image).sum())
    if not count:
        return []
    return [
        f"{count} of {len(results)} subjects have neither a box nor two labeled points: their scale is the diagonal of"
        " the image"
    ]


def _parts(results: Results, values: Mapping[str, np.ndarray], skipped: dict[str, str]) -> dict[str, Any]:
    """The metrics of each keypoint, each group, and of visible and occluded points."""
    parts: dict[str, Any] = {"keypoints": {}, "groups": {}}
    labeled = results.labeled
    for path, points in _points(results):
        entry: dict[str, Any] = {"points": int(labeled[points].sum())}
        summaries = {name: COLUMNS[name].summarize(value[points]) for name, value in values.items()}
        entry |= {name: value for name, value in summaries.items() if value is not None}
        if not entry["points"]:
            skipped[".".join(path)] = "no such point is labeled"
        (parts if len(path) == 1 else parts[path[0]])[path[-1]] = entry
    return parts


def _quarters(results: Results, values: Mapping[str, np.ndarray], fraction: float) -> list[dict[str, Any]]:
    """The reliability of each quarter of the labeled points by confidence, the lowest first; of few points, of fewer.

    `confidence` is the mean of a quarter, `hits` the fraction of its errors within `fraction` of the subject's scale.
    """
    confidence, hits = confidences_and_hits(results, fraction)
    measured = {name: values[name][results.labeled] for name in ("median", "coverage_50", "coverage_90")}
    return [
        {"points": len(part), "confidence": float(confidence[part].mean()), "hits": float(hits[part].mean())}
        | {name: COLUMNS[name].summarize(value[part]) for name, value in measured.items()}
        for part in confidence_quarters(confidence)
    ]


def _points(results: Results) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What selects the points of each part from (N, K), by the keys under which the output has it."""
    for k, name in enumerate(results.skeleton.names):
        yield ("keypoints", name), (slice(None), k)
    for group, rows in group_rows(results.groups).items():
        yield ("groups", group), rows
    yield ("visible",), results.visibility == 2
    yield ("occluded",), results.visibility == 1
