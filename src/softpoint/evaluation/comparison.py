"""Comparison of two models on the same images: which is better, with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from softpoint.evaluation.bootstrap import interval, probability_above
from softpoint.evaluation.intervals import (
    DRAWS,
    Drawn,
    Resamples,
    Sigmas,
    oks_metrics,
    point_columns,
    point_metrics,
    set_metrics,
)
from softpoint.evaluation.oks import find_sigmas
from softpoint.evaluation.results import Results, group_rows
from softpoint.evaluation.summary import definitions, settings
from softpoint.metrics.columns import COLUMNS


def compare(
    first: Results,
    second: Results,
    *,
    oks_sigmas: Sigmas | None = None,
    nme_pair: Sequence[str] | None = None,
    fraction: float | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    about: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    unmeasured: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the content of comparison.json: each metric of both, and A - B with its 95 % interval.

    Subjects are matched by image and labels, keypoints by name; only what both have is counted. Both are resampled
    together, so that the difficulty of an image cancels. `p_a_better` is the probability that A is better (see
    `probability_above`). EPE is also compared on the points of each keypoint and, where there are several, of each
    group, whose images are then resampled. `fraction` is what the confidences of both are about; without it their
    calibration error is not compared; nor are metrics that are `unmeasured` for a reason.
    Raises ValueError where nothing matches or the labels differ, and the errors of `evaluate`.
    """
    pair = matched([first, second])
    names = pair[0].skeleton.names
    if oks_sigmas is not None:  # given in the order of the first's keypoints
        sigmas = dict(zip(first.skeleton.names, find_sigmas(oks_sigmas, first.skeleton.names).tolist(), strict=True))
        oks_sigmas = [sigmas[name] for name in names]
    resamples = Resamples.of(pair[0], draws, seed)
    columns = point_columns(pair[0], nme_pair)
    both: list[dict[str, Drawn]] = []
    skipped = resamples.without_intervals()
    for results in pair:
        values = {column.name: column.values(results) for column in columns if column.values is not None}
        metrics = point_metrics(columns, values, resamples) | oks_metrics(results, oks_sigmas, resamples, skipped)
        both.append(metrics | set_metrics(results, fraction or 0.0, resamples, skipped))
    if fraction is None:
        skipped["ece"] = "the confidences of the two models are about different errors"
    skipped |= unmeasured or {}
    left_out = {*(unmeasured or {}), *(["ece"] if not fraction else [])}
    shared = [name for name in COLUMNS if name in both[0] and name in both[1] and name not in left_out]
    return {
        **(about or {}),
        "images": len(set(pair[0].images)),
        "subjects": len(pair[0]),
        "points": int(pair[0].labeled.sum()),
        **settings(pair[0].skeleton, oks_sigmas, nme_pair),
        "resampled": resamples.to_dict(),
        "overall": {name: _difference(name, both[0][name], both[1][name]) for name in shared},
        "keypoints": _by_keypoint(pair, resamples),
        "groups": _by_group(pair, draws, seed),
        "notes": [resamples.describe(), *notes],
        "skipped": skipped,
        "definitions": definitions(dict.fromkeys(shared)),
    }


def matched(results: Sequence[Results]) -> list[Results]:
    """Return results with the subjects and keypoints that all have, in one order; errors as `matched_rows` has them."""
    rows, first = matched_rows(results), results[0]
    names = [name for name in first.skeleton.names if all(name in other.skeleton.names for other in results)]
    return [part.select(chosen).with_keypoints(names) for part, chosen in zip(results, rows, strict=True)]


def matched_rows(results: Sequence[Results]) -> list[list[int]]:
    """Return for each of the results the places of the subjects that all have, in the order of the first.

    Subjects of one image are distinguished by their labels. Raises ValueError where there is nothing in common, and
    where an image is in all but none of its labels are.
    """
    names = [name for name in results[0].skeleton.names if all(name in other.skeleton.names for other in results)]
    if not names:
        raise ValueError("the results have no keypoint of the same name; evaluate the same keypoints")
    places = [{key: i for i, key in enumerate(_keys(part.with_keypoints(names)))} for part in results]
    common = [key for key in places[0] if all(key in others for others in places)]
    shared, same_labels = set.intersection(*(set(part.images) for part in results)), {image for image, *_ in common}
    if not shared:
        raise ValueError("the results have no image in common; evaluate all on the same data and split")
    if differing := shared - same_labels:
        raise ValueError(
            f"the labels of {len(differing)} images differ between the results, first of {min(differing)};"
            " evaluate all on the same labels"
        )
    return [[own[key] for key in common] for own in places]


def _keys(results: Results) -> list[tuple[str, bytes, int]]:
    """Each subject's image and labels, and its number among those that are alike."""
    seen: Counter[tuple[str, bytes]] = Counter()
    keys = []
    for image, truth in zip(results.images, results.truth, strict=True):
        key = (image, np.round(truth, 4).tobytes())
        keys.append((*key, seen[key]))
        seen[key] += 1
    return keys


def _by_keypoint(pair: Sequence[Results], resamples: Resamples) -> dict[str, Any]:
    errors = [results.errors for results in pair]
    return {
        name: _part([values[:, [k]] for values in errors], resamples) for k, name in enumerate(pair[0].skeleton.names)
    }


def _by_group(pair: Sequence[Results], draws: int, seed: int) -> dict[str, Any]:
    """The comparison within each group, by its images; empty where all are of one."""
    first, errors = pair[0], [results.errors for results in pair]
    groups = group_rows(first.groups)
    if len(groups) < 2:
        return {}
    return {
        group: _part(
            [values[rows] for values in errors],
            Resamples.of(replace(first.select(rows), has_groups=False), draws, seed),
        )
        for group, rows in groups.items()
    }


def _part(errors: Sequence[np.ndarray], resamples: Resamples) -> dict[str, Any]:
    """The number of labeled points and, if there are any, EPE of both and the difference; `errors` (N, K) of each."""
    points = int(np.isfinite(errors[0]).sum())
    if not points:
        return {"points": 0}
    a, b = (point_metrics([COLUMNS["epe"]], {"epe": values}, resamples)["epe"] for values in errors)
    return {"points": points, "epe": _difference("epe", a, b)}


def _difference(name: str, a: Drawn, b: Drawn) -> dict[str, float]:
    """Both values and A - B; with enough units also its interval and the probability that A is better."""
    entry, units = {"a": a.value, "b": b.value, "difference": a.value - b.value}, min(a.units, b.units)
    if len(a.draws) != len(b.draws) or (ends := interval(a.draws - b.draws, units)) is None:
        return entry
    gain = COLUMNS[name].loss(b.draws) - COLUMNS[name].loss(a.draws)
    return entry | {"low": ends[0], "high": ends[1], "p_a_better": probability_above(gain, units)}
