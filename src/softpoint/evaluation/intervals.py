"""Every metric of a set of results, with its value in each bootstrap resample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from softpoint.evaluation.bootstrap import (
    MIN_UNITS,
    count_units,
    draw_counts,
    find_units,
    interval,
    mean_draws,
    quantile_draws,
)
from softpoint.evaluation.oks import average_precision, evaluator, find_sigmas, match
from softpoint.evaluation.results import Results
from softpoint.labels.plane import Plane
from softpoint.labels.skeleton import Skeleton
from softpoint.metrics import COLUMNS, Column
from softpoint.metrics.functional import Points, distances
from softpoint.metrics.functional import nme_pair as relative_to_pair

Sigmas = str | float | Sequence[float]

DRAWS = 2000
# Metrics of a whole set are computed again on every resample, one by one.
SLOW_DRAWS = 200
# Units below which a split says little about new ones.
FEW_UNITS = 10
OKS = ("oks_ap", "oks_ap50", "oks_ap75", "oks_ar")


class Drawn(NamedTuple):
    """A metric, its value in each resample (draws,), and the number of units that it is measured on."""

    value: float
    draws: np.ndarray
    units: int

    def to_dict(self) -> dict[str, float]:
        """The value and the ends of its 95 % interval; the value alone where there are too few resamples or units."""
        ends = interval(self.draws, self.units)
        return {"value": self.value} if ends is None else {"value": self.value, "low": ends[0], "high": ends[1]}


class Grouped(Protocol):
    """Images, or subjects in them, and the group of each."""

    @property
    def images(self) -> Sequence[str]: ...
    @property
    def groups(self) -> Sequence[str]: ...
    @property
    def has_groups(self) -> bool: ...  # others than these are of other groups


@dataclass(frozen=True)
class Resamples:
    """The units that a bootstrap draws: what they are, which each subject is in, and how often each draw has each."""

    kind: str  # "groups" or "images"
    group: str | None  # one of them, or that of all images; None where each image is one
    unit: np.ndarray  # (N,)
    counts: np.ndarray  # (draws, units)
    seed: int

    @classmethod
    def of(cls, results: Grouped, draws: int, seed: int) -> Resamples:
        """Resamples of the groups of `results`, or of its images where all are of one group."""
        unit, kind = find_units(results.images, results.groups, results.has_groups)
        group = results.groups[0] if kind == "groups" or len(set(results.groups)) == 1 else None
        return cls(kind, group, unit, draw_counts(int(unit.max()) + 1, draws, seed), seed)

    @property
    def units(self) -> int:
        """Number of units."""
        return int(self.counts.shape[1])

    def to_dict(self) -> dict[str, int | str]:
        """The kind and number of units and draws, for metrics.json."""
        draws = len(self.counts)
        slow = min(draws, SLOW_DRAWS)
        return {"unit": self.kind, "units": self.units, "draws": draws, "draws_of_calibration": slow, "seed": self.seed}

    def describe(self) -> str:
        """A sentence on the independent units, and a caution where they are few."""
        if self.kind == "groups":
            kind = f"{'group' if self.units == 1 else 'groups'} of images, such as {self.group!r}"
        elif self.group is None:
            kind = "images"
        else:
            place = f"the group {self.group!r}" if self.group else "one folder"
            kind = f"images, all of {place} (group=REGEX, or data.group in training, finds smaller groups)"
        few = "; results on so few depend on the split: softpoint crossval tests on every labeled image"
        return f"independent units: {self.units} {kind}{few * (self.units < FEW_UNITS)}"

    def without_intervals(self) -> dict[str, str]:
        """The reason why there are no intervals, under "intervals"; empty where there are."""
        if self.units >= MIN_UNITS:
            return {}
        return {
            "intervals": f"only {count_units(self.units, f'independent {self.kind}')}; at least {MIN_UNITS} are needed"
        }

    def measured(self, mask: np.ndarray) -> int:
        """Number of units with a point in `mask` (N, K)."""
        return len(np.unique(self.unit[mask.any(1)]))

    def rows(self, draw: int) -> np.ndarray:
        """The subjects of one resample, each as often as its unit was drawn."""
        return np.repeat(np.arange(len(self.unit)), self.counts[draw][self.unit].astype(int))


def point_columns(results: Results, nme_pair: Sequence[str] | None = None) -> list[Column]:
    """The metrics of points, with `nme_pair` where two keypoints are named, and millimeters where there is a plane.

    Raises ValueError for a pair that names no two keypoints.
    """
    pair = None if nme_pair is None else find_pair(nme_pair, results.skeleton)
    columns = []
    for column in COLUMNS.values():
        if column.name == "nme_pair" and pair is not None:
            column = replace(column, values=partial(relative_to_pair, first=pair[0], second=pair[1]))
        if column.unit == "mm" and (plane := results.plane) is not None:
            column = replace(column, values=partial(_errors_on, plane))
        if column.values is not None:
            columns.append(column)
    return columns


def _errors_on(plane: Plane, points: Points) -> np.ndarray:
    """Distances of predictions from labels in millimeters."""
    return distances(plane.points(points.keypoints), plane.points(points.truth))


def find_pair(pair: Sequence[str], skeleton: Skeleton) -> tuple[int, int]:
    """Indices of the two keypoints that `nme_pair` names; ValueError, with a suggestion, where they are not two.

    >>> find_pair(["nose", "tail"], Skeleton(("tail", "nose")))
    (1, 0)
    """
    if isinstance(pair, str) or len(pair) != 2 or pair[0] == pair[1]:
        raise ValueError(f"nme_pair={pair} must name two keypoints, such as [left_eye,right_eye]")
    first, second = (skeleton.index(name, f"nme_pair={list(pair)}") for name in pair)
    return first, second


def point_metrics(
    columns: Sequence[Column], values: Mapping[str, np.ndarray], resamples: Resamples
) -> dict[str, Drawn]:
    """The metrics of point `values` (N, K), without those that are measured on no point."""
    metrics = {}
    for column in columns:
        value = column.summarize(values[column.name])
        if value is not None:
            arguments = values[column.name], resamples.unit, resamples.counts
            quantile = column.quantile
            draws = mean_draws(*arguments) if quantile is None else quantile_draws(*arguments, quantile)
            metrics[column.name] = Drawn(value, draws, resamples.measured(np.isfinite(values[column.name])))
    return metrics


def oks_metrics(
    results: Results, sigmas: Sigmas | None, resamples: Resamples, skipped: dict[str, str]
) -> dict[str, Drawn]:
    """COCO's metrics; none without sigmas, because guessed ones would decide them. Adds the reason to `skipped`."""
    if sigmas is None:
        skipped |= dict.fromkeys(OKS, "oks_sigmas is not set")
        return {}
    evaluator()
    try:
        matches = match(results, find_sigmas(sigmas, results.skeleton.names), resamples.unit)
    except ValueError as error:
        skipped |= dict.fromkeys(OKS, str(error))
        return {}
    counts = resamples.counts
    values = average_precision(matches, np.ones((1, counts.shape[1])))
    draws = average_precision(matches, counts) if len(counts) else {}
    units = resamples.measured(results.labeled)
    return {name: Drawn(float(values[name][0]), draws.get(name, np.empty(0)), units) for name in OKS}


def set_metrics(results: Results, fraction: float, resamples: Resamples, skipped: dict[str, str]) -> dict[str, Drawn]:
    """The metrics of a whole set, `fraction` of the scale being what confidences are about.

    Adds those that cannot be measured to `skipped`.
    """
    functions = {name: column.of_set for name, column in COLUMNS.items() if column.of_set is not None}
    values = {name: function(results, fraction) for name, function in functions.items()}
    measured = {name: value for name, value in values.items() if np.isfinite(value)}
    skipped |= {name: COLUMNS[name].unmeasured for name in values if name not in measured}
    draws = min(len(resamples.counts), SLOW_DRAWS) if measured else 0
    parts = [results.select(resamples.rows(draw)) for draw in range(draws)]
    units = resamples.measured(results.labeled)
    drawn = {name: np.array([functions[name](part, fraction) for part in parts]) for name in measured}
    metrics = {name: Drawn(value, drawn[name], units) for name, value in measured.items()}
    if "ece" in metrics:
        metrics["ece"] = centered(metrics["ece"])
    return metrics


def centered(ece: Drawn) -> Drawn:
    """The calibration error without the bias of resampling: repeated points err together, in every bin."""
    finite = np.isfinite(ece.draws)
    if not finite.any():
        return ece
    return ece._replace(draws=(ece.draws - ece.draws[finite].mean() + ece.value).clip(0))
