"""Conformal regions of a model, measured on images that they were not fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from softpoint.evaluation.bootstrap import interval, mean_draws
from softpoint.evaluation.intervals import Resamples
from softpoint.evaluation.results import Results
from softpoint.inference import Checkpoint
from softpoint.inference.regions import Regions
from softpoint.metrics.conformal import joint_scores, mahalanobis, needed_units, unit_shares
from softpoint.paths import normalize_path

Entry = dict[str, Any]


def measure_regions(regions: Regions, results: Results, resamples: Resamples) -> list[Entry]:
    """Return an entry per level for metrics.json: the fraction of labels inside, each unit weighing the same.

    `overall` is over all keypoints, `keypoints` by name, and `joint` of subjects whose labeled points are all inside
    the joint regions. What the model has no radius for is left out. The results may lack keypoints of the model.
    """
    distance = mahalanobis(results.keypoints - results.truth, results.covariance)
    order = [regions.names.index(name) for name in results.skeleton.names]
    entries = []
    for level, radii in zip(regions.levels, regions.radii, strict=True):
        own, joint = radii[order], radii[-1] if len(order) == len(regions.names) else 0.0
        inside = _inside(distance, own)
        columns = zip(results.skeleton.names, inside.T, own.tolist(), strict=True)
        entry: Entry = {"level": level, "needed_units": needed_units(level)}
        entry["overall"] = _share(inside, resamples)
        entry["keypoints"] = {name: {"radius": r, **_share(c[:, None], resamples)} for name, c, r in columns if r}
        if joint:
            entry["joint"] = {"radius": float(joint)}
            entry["joint"] |= _share(_inside(joint_scores(distance)[:, None], joint), resamples)
        entries.append({key: value for key, value in entry.items() if value})
    return entries


def held_out_regions(checkpoint: Checkpoint, split: str, images: Sequence[str]) -> tuple[Regions | None, str]:
    """Return the regions of a checkpoint to be measured on these images, or None and the reason why there are none."""
    regions = Regions.of(checkpoint.net.calibration, checkpoint.skeleton.names)
    if regions is None:
        return None, "the model has none; softpoint calibrate fits them where there are enough validation images"
    fitted = {normalize_path(image) for image in (checkpoint.splits or {}).get("val", ())}
    if split in ("val", "all") if not fitted else fitted.intersection(map(normalize_path, images)):
        return None, "they were fitted on some of these images; evaluate others, such as split=test"
    return regions, ""


def _inside(distance: np.ndarray, radius: np.ndarray | float) -> np.ndarray:
    """1 for a distance within the radius, else 0; NaN where there is no label or no radius."""
    return np.where(np.isnan(distance) | (np.asarray(radius) == 0), np.nan, distance <= radius)


def _share(inside: np.ndarray, resamples: Resamples) -> Mapping[str, float]:
    """The mean over units of the share of their points (N, K) inside, with its 95 % interval; empty without any."""
    if np.isnan(inside).all():
        return {}
    shares = unit_shares(inside.ravel(), np.repeat(resamples.unit, inside.shape[1]), resamples.units)
    ends = interval(
        mean_draws(shares[:, None], np.arange(len(shares)), resamples.counts), int(np.isfinite(shares).sum())
    )
    return {"coverage": float(np.nanmean(shares))} | ({} if ends is None else {"low": ends[0], "high": ends[1]})
