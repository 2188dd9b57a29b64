"""Conformal regions of a model, measured on images that they were not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from softpoint.evaluation.bootstrap import interval, mean_draws
from softpoint.evaluation.intervals import Resamples
from softpoint.evaluation.results import Results, group_rows
from softpoint.inference import Checkpoint
from softpoint.inference.regions import ELLIPSES, SETS, Regions
from softpoint.metrics.calibration import confidence_quarters
from softpoint.metrics.conformal import joint_scores, mahalanobis, needed_units, region_radii, unit_shares
from softpoint.paths import normalize_path

Entry = dict[str, Any]


def measure_regions(regions: Regions, results: Results, resamples: Resamples) -> list[Entry]:
    """Return an entry per level for metrics.json: the fraction of labels inside, each unit weighing the same.

    `overall` is over all keypoints, `keypoints` by name, `quarters` by confidence, the lowest first, `groups` by name
    where there are several, and `joint` of subjects whose labeled points are all inside the joint regions. `area` is
    the mean in px^2 of the regions of labeled points; heatmap sets have the mean number of `parts`, and the share of
    those of `several`. What the model has no bound for is left out. The results may lack keypoints of the model.
    """
    order = [regions.names.index(name) for name in results.skeleton.names]
    bounds = regions.bounds[:, [*order, -1]]
    if len(order) < len(regions.names):
        bounds[:, -1] = 0  # it is about points that are not here
    if regions.kind == SETS:
        assert results.set_tails is not None and results.set_sizes is not None
        scores, bounds = np.where(results.labeled, -results.set_tails, np.nan), -bounds
        sizes = [dict(zip(("area", "parts"), size, strict=True)) for size in results.set_sizes.transpose(2, 3, 0, 1)]
        sizes = [size | {"several": size["parts"] > 1} for size in sizes]
    else:
        scores = mahalanobis(results.keypoints - results.truth, results.covariance)
        one_sigma = np.pi * np.sqrt(np.linalg.det(results.covariance))
        sizes = [{"area": one_sigma * row[:-1] ** 2} for row in bounds]
    entries = []
    for level, row, size in zip(regions.levels, bounds, sizes, strict=True):
        entry = _entry(regions.kind, level, row, np.tile(row, (len(results), 1)), scores, results, resamples)
        measured = results.labeled & (row[:-1] != 0)
        entries.append(entry | {name: float(v[measured].mean()) for name, v in size.items() if measured.any()})
    return entries


def cross_validated_regions(results: Results, fold: np.ndarray, resamples: Resamples) -> list[Entry]:
    """Return entries as those of `measure_regions`, of predictions by models that did not learn the images.

    Each fold (N,) is measured by radii of the others (cross-conformal prediction, Vovk, arXiv:1208.0806; nearly CV+ of
    Barber et al., arXiv:1905.02928, of which 1 - 2 (1 - level) is proved); `radius` is that of all folds together.
    """
    distance, entries = mahalanobis(results.keypoints - results.truth, results.covariance), []
    for level in Regions.levels:
        rows = np.zeros((len(results), len(results.skeleton) + 1))
        for own in np.unique(fold):
            rows[fold == own] = region_radii(distance[fold != own], resamples.unit[fold != own], level)
        rows, every = (np.nan_to_num(r, posinf=0) for r in (rows, region_radii(distance, resamples.unit, level)))
        entries.append(_entry(ELLIPSES, level, every, rows, distance, results, resamples))
    return entries


def _entry(
    kind: str,
    level: float,
    bounds: np.ndarray,
    rows: np.ndarray,
    scores: np.ndarray,
    results: Results,
    resamples: Resamples,
) -> Entry:
    """The coverage by the bounds of each subject, `rows` (N, K + 1), beside those that are stated, (K + 1,).

    `scores` (N, K) of labels inside are up to the bound; those of heatmap sets are negative tails.
    """
    inside, names = _inside(scores, rows[:, :-1]), results.skeleton.names
    columns = zip(names, inside.T, bounds.tolist(), strict=False)
    entry: Entry = {"level": level, "needed_units": needed_units(level), "overall": _share(inside, resamples)}
    entry["keypoints"] = {n: _stated(kind, b) | _share(c[:, None], resamples) for n, c, b in columns if b}
    entry["quarters"] = [_share(part, resamples) for part in _quarters(inside, results.confidence)]
    groups = {name: _mean(inside[rows]) for name, rows in group_rows(results.groups).items()}
    entry["groups"] = {name: share for name, share in groups.items() if len(groups) > 1 and share is not None}
    if bounds[-1]:
        joint = _inside(joint_scores(scores)[:, None], rows[:, -1:])
        entry["joint"] = _stated(kind, float(bounds[-1])) | _share(joint, resamples)
    return {key: value for key, value in entry.items() if value}


def _stated(kind: str, bound: float) -> dict[str, float]:
    return {"mass": 1 + bound} if kind == SETS else {"radius": bound}


def held_out_regions(
    checkpoint: Checkpoint, split: str, images: Sequence[str], kind: str = ELLIPSES
) -> tuple[Regions | None, str]:
    """Return the regions of a checkpoint to be measured on these images, or None and the reason why there are none."""
    regions = Regions.of(checkpoint.net.calibration, checkpoint.skeleton.names, kind)
    if regions is None:
        return None, "the model has none; softpoint calibrate fits them where there are enough validation images"
    crossval, splits = checkpoint.record.get("calibrated_by") == "crossval", checkpoint.splits or {}
    chosen = [part for name, part in splits.items() if crossval or name == "val"]
    fitted = {normalize_path(image) for part in chosen for image in part}
    if split in ("val", "all") if not fitted else fitted.intersection(map(normalize_path, images)):
        return None, "they were fitted on some of these images; evaluate others, such as split=test"
    return regions, ""


def _inside(scores: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """1 for a score up to the bound, else 0; NaN where there is no label or no bound."""
    return np.where(np.isnan(scores) | (bounds == 0), np.nan, scores <= bounds)


def _quarters(inside: np.ndarray, confidence: np.ndarray) -> list[np.ndarray]:
    """`inside` (N, K) of each quarter of its points by confidence, NaN elsewhere; none for fewer than four points."""
    points = np.flatnonzero(np.isfinite(inside))
    parts = [points[part] for part in confidence_quarters(confidence.ravel()[points])]
    quarters = np.full((len(parts), inside.size), np.nan)
    for quarter, part in zip(quarters, parts, strict=True):
        quarter[part] = inside.ravel()[part]
    return list(quarters.reshape(-1, *inside.shape)) if len(parts) == 4 else []


def _mean(inside: np.ndarray) -> float | None:
    """The share of points inside; None without any."""
    measured = inside[np.isfinite(inside)]
    return float(measured.mean()) if len(measured) else None


def _share(inside: np.ndarray, resamples: Resamples) -> dict[str, float]:
    """The mean over units of the share of their points (N, K) inside, with its 95 % interval; empty without any."""
    if np.isnan(inside).all():
        return {}
    shares = unit_shares(inside.ravel(), np.repeat(resamples.unit, inside.shape[1]), resamples.units)
    ends = interval(
        mean_draws(shares[:, None], np.arange(len(shares)), resamples.counts), int(np.isfinite(shares).sum())
    )
    return {"coverage": float(np.nanmean(shares))} | ({} if ends is None else {"low": ends[0], "high": ends[1]})
