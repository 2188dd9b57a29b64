"""Numbers about found subjects, each a ratio of sums over images, and their values in bootstrap resamples."""

from __future__ import annotations

import math
from collections.abc import Container
from typing import NamedTuple

import numpy as np

from softpoint.evaluation.bootstrap import LEVEL, MIN_UNITS, mean_draws, quantile_draws
from softpoint.evaluation.intervals import Drawn, Resamples
from softpoint.evaluation.subjects.matching import Outcomes
from softpoint.evaluation.subjects.results import SubjectResults, rows_of
from softpoint.labels.boxes import box_overlaps
from softpoint.metrics.columns import Column
from softpoint.metrics.functional import distances

OVERLAP = 0.1  # of two boxes, above which their subjects are crowded

_ROWS = [
    Column("oks_ap", "", False, "COCO's average precision, mean over OKS from 0.50 to 0.95"),
    Column("oks_ap50", "", False, "COCO's average precision at OKS 0.50"),
    Column("oks_ap75", "", False, "COCO's average precision at OKS 0.75"),
    Column("oks_ar", "", False, "COCO's average recall, mean over OKS from 0.50 to 0.95"),
    Column("precision", "", False, "fraction of the found subjects that match a labeled one"),
    Column("recall", "", False, "fraction of the labeled subjects that are found"),
    Column("false_per_image", "", True, "found subjects per image that match no labeled one, doubled ones included"),
    Column("doubled_per_image", "", True, "found subjects per image whose best match is found already"),
    Column("missed_per_image", "", True, "labeled subjects per image that are not found"),
    Column("images_without_false", "", False, "fraction of the images without any false or doubled subject"),
    Column("empty_images_right", "", False, "fraction of the images without a subject in which none is found"),
    Column("right_counts", "", False, "fraction of the images in which as many subjects are found as are labeled"),
    Column("doubled", "", True, "found subjects whose best match is found already, per labeled subject"),
    Column("epe", "px", True, "mean error of the labeled points of found subjects", ".2f"),
    Column("median", "px", True, "median error of the labeled points of found subjects", ".2f"),
    Column("p95", "px", True, "95th percentile of the errors of the labeled points of found subjects", ".2f"),
    Column("score_ece", "", True, "expected calibration error of the score as the probability that it matches a"
           " labeled subject", ".3f"),
]  # fmt: skip
MEASURES = {column.name: column for column in _ROWS}


class Ratio(NamedTuple):
    """A number as the sum over images of one value, divided by the sum of another."""

    above: np.ndarray  # (I,)
    below: np.ndarray  # (I,)
    is_fraction: bool = True  # it is 1 at most

    def to_dict(self, resamples: Resamples) -> dict[str, float] | None:
        """The number and the ends of its 95 % interval; None where nothing is divided by.

        Where a fraction is 0 or 1 in every unit, resamples do not vary, and the other end is that of Clopper and
        Pearson's interval for as many units that are all alike; for a rate that is 0 in all, that of Poisson's.
        Another number that is the same in all has no interval.
        """
        if not (total := float(self.below.sum())):
            return None
        above, below = (np.bincount(resamples.unit, part, resamples.units) for part in (self.above, self.below))
        value, units = float(self.above.sum()) / total, int((below > 0).sum())
        if value == 0 or (self.is_fraction and value == 1):
            if units < MIN_UNITS or not len(resamples.counts):
                return {"value": value}
            rate = -math.log((1 - LEVEL) / 2) / units
            far = 1 - math.exp(-rate) if self.is_fraction else rate
            low, high = (0.0, far) if value == 0 else (1 - far, 1.0)
            return {"value": value, "low": low, "high": high}
        draws, drawn_below = np.full(len(resamples.counts), np.nan), resamples.counts @ below
        np.divide(resamples.counts @ above, drawn_below, out=draws, where=drawn_below > 0)
        varies = len(set(draws[np.isfinite(draws)].tolist())) > 1
        return Drawn(value, draws, units).to_dict() if varies else {"value": value}


def image_ratios(results: SubjectResults, outcomes: Outcomes, threshold: float) -> dict[str, Ratio]:
    """Return the ratios of images, of the found subjects whose score is at least `threshold`."""
    kept, images = results.found.score >= threshold, len(results)
    every = np.ones(images)

    def found(mask: np.ndarray) -> np.ndarray:
        return np.bincount(results.found_in[mask], minlength=images).astype(float)

    def labeled(mask: np.ndarray) -> np.ndarray:
        return np.bincount(results.labeled_in[mask], minlength=images).astype(float)

    right, wrong, seen = outcomes.right(kept), outcomes.wrong(kept), outcomes.seen(kept)
    known = results.complete & ~has_unknown(results, outcomes)
    empty = (known & (labeled(outcomes.measured) == 0)).astype(float)
    counts_right = (known & (found(kept) == labeled(outcomes.measured))).astype(float)
    return {
        "precision": Ratio(found(right), found(right | wrong)),
        "recall": Ratio(labeled(seen), labeled(outcomes.measured)),
        "false_per_image": Ratio(found(wrong), every, is_fraction=False),
        "doubled_per_image": Ratio(found(kept & outcomes.doubled), every, is_fraction=False),
        "missed_per_image": Ratio(labeled(outcomes.measured & ~seen), every, is_fraction=False),
        "images_without_false": Ratio((found(wrong) == 0).astype(float), every),
        "empty_images_right": Ratio(empty * (found(kept) == 0), empty),
        "right_counts": Ratio(counts_right, known.astype(float)),
    }


def subject_ratios(results: SubjectResults, outcomes: Outcomes, threshold: float, part: np.ndarray) -> dict[str, Ratio]:
    """Return the ratios of a `part` (N,) of the labeled subjects."""
    kept, images = results.found.score >= threshold, len(results)
    seen, measured = outcomes.seen(kept) & part, outcomes.measured & part
    below = np.bincount(results.labeled_in[measured], minlength=images).astype(float)
    above = np.bincount(results.labeled_in[seen], minlength=images).astype(float)
    doubled = kept & (outcomes.twin >= 0) & np.append(part, False)[outcomes.twin]
    again = np.bincount(results.found_in[doubled], minlength=images).astype(float)
    return {"recall": Ratio(above, below), "doubled": Ratio(again, below, is_fraction=False)}


def error_measures(
    results: SubjectResults, errors: np.ndarray, resamples: Resamples, part: np.ndarray
) -> dict[str, Drawn]:
    """Return epe, median and p95 of the `errors` (N, K) of a `part` (N,) of the labeled subjects."""
    values = errors[part]
    if not (finite := np.isfinite(values)).any():
        return {}
    unit = resamples.unit[results.labeled_in[part]]
    units = len(np.unique(unit[finite.any(1)]))
    measured = {"epe": Drawn(float(values[finite].mean()), mean_draws(values, unit, resamples.counts), units)}
    for name, share in (("median", 0.5), ("p95", 0.95)):
        draws = quantile_draws(values, unit, resamples.counts, share)
        measured[name] = Drawn(float(np.quantile(values[finite], share)), draws, units)
    return measured


def found_errors(results: SubjectResults, outcomes: Outcomes, threshold: float) -> np.ndarray:
    """Return the errors (N, K) in px of the found subjects that labeled ones are; NaN where unlabeled or not found."""
    seen = outcomes.seen(results.found.score >= threshold)
    errors = np.full(results.labeled.visibility.shape, np.nan)
    points = results.found.keypoints[outcomes.find[seen]]
    errors[seen] = distances(points, results.labeled.keypoints[seen])
    return errors


def crowded_subjects(results: SubjectResults, overlap: float = OVERLAP) -> np.ndarray:
    """Return a mask (N,) of the labeled subjects whose box overlaps that of another by more than `overlap` (IoU)."""
    crowded = np.zeros(len(results.labeled_in), bool)
    for image in range(len(results)):
        rows = rows_of(results.labeled_in, image)
        shared = box_overlaps(results.labeled.boxes[rows], results.labeled.boxes[rows])
        np.fill_diagonal(shared, 0)
        crowded[rows] = (shared > overlap).any(1)
    return crowded


def has_unknown(results: SubjectResults, outcomes: Outcomes) -> np.ndarray:
    """Return a mask (I,) of the images with crowds, or with labeled subjects that cannot be measured."""
    mask = np.zeros(len(results), bool)
    mask[results.crowds_in] = True
    mask[results.labeled_in[~outcomes.measured]] = True
    return mask


def describe(measured: Container[str]) -> dict[str, str]:
    """Return the definition of each of the measures that are `measured`, with its unit."""
    columns = [column for name, column in MEASURES.items() if name in measured]
    units = {column.name: f" in {column.unit} of the original images" if column.unit else "" for column in columns}
    return {column.name: f"{column.description}{units[column.name]}" for column in columns}
