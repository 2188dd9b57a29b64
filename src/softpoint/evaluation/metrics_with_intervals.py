"""Every number of a set of results, with what it would have been in each resample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from softpoint.evaluation.bootstrap import mean_draws, quantile_draws
from softpoint.evaluation.measures import QUANTILES, summarize
from softpoint.evaluation.oks import average_precision, check_evaluator, find_sigmas, match
from softpoint.evaluation.reliability import CALIBRATION, reliability
from softpoint.evaluation.results import Results

Sigmas = str | float | Sequence[float]

# Calibration is computed anew on every resample, one by one.
SLOW_DRAWS = 200
_OKS = ("oks_ap", "oks_ap50", "oks_ap75", "oks_ar")


class Drawn(NamedTuple):
    """A number, and its value in each resample (draws,)."""

    value: float
    draws: np.ndarray


def of_points(measures: Mapping[str, np.ndarray], unit: np.ndarray, counts: np.ndarray) -> dict[str, Drawn]:
    """The numbers that point values (N, K) make, without those that no point has."""
    found = {name: summarize(name, values) for name, values in measures.items()}
    return {
        name: Drawn(value, _draws(name, measures[name], unit, counts))
        for name, value in found.items()
        if value is not None
    }


def of_oks(
    results: Results, sigmas: Sigmas | None, unit: np.ndarray, counts: np.ndarray, skipped: dict[str, str]
) -> dict[str, Drawn]:
    """COCO's numbers; without sigmas none, because a guessed one would decide them. `skipped` is told why."""
    if sigmas is None:
        skipped |= dict.fromkeys(_OKS, "no oks_sigmas say how exactly each keypoint can be labeled")
        return {}
    check_evaluator()
    per_point = find_sigmas(sigmas, results.skeleton.names)
    try:
        matches = match(results, per_point, unit)
    except ValueError as error:
        skipped |= dict.fromkeys(_OKS, str(error))
        return {}
    values = average_precision(matches, np.ones((1, counts.shape[1])))
    drawn = average_precision(matches, counts) if len(counts) else {}
    return {name: Drawn(float(values[name][0]), drawn.get(name, np.empty(0))) for name in _OKS}


def of_calibration(
    results: Results, fraction: float, unit: np.ndarray, counts: np.ndarray, skipped: dict[str, str]
) -> dict[str, Drawn]:
    """What `reliability` says of confidences and covariances; `skipped` is told what it cannot say."""
    found = {name: value for name, value in reliability(results, fraction).items() if np.isfinite(value)}
    drawn = [reliability(results.select(_rows(unit, row)), fraction) for row in counts[:SLOW_DRAWS] if found]
    for name in CALIBRATION:
        if name not in found:
            skipped[name] = "too few labeled points"
    numbers = {name: Drawn(value, np.array([one.get(name, np.nan) for one in drawn])) for name, value in found.items()}
    if "ece" in numbers:
        numbers["ece"] = _centered(numbers["ece"])
    return numbers


def _centered(ece: Drawn) -> Drawn:
    """Without what resampling adds: points that a resample repeats err together, in every bin of every resample."""
    known = np.isfinite(ece.draws)
    return Drawn(ece.value, (ece.draws - ece.draws[known].mean() + ece.value).clip(0)) if known.any() else ece


def _draws(name: str, values: np.ndarray, unit: np.ndarray, counts: np.ndarray) -> np.ndarray:
    if name in QUANTILES:
        return quantile_draws(values, unit, counts, QUANTILES[name])
    return mean_draws(values, unit, counts)


def _rows(unit: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The subjects of one resample, each as often as its unit was drawn."""
    return np.repeat(np.arange(len(unit)), counts[unit].astype(int))
