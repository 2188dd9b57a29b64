"""Two models on the same pictures: which is better, and how sure that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from softpoint.evaluation.bootstrap import draw_counts, find_units, interval
from softpoint.evaluation.measures import DEFINITIONS, LOWER, point_measures, summarize
from softpoint.evaluation.results import Results
from softpoint.evaluation.summary import DRAWS, draws_of


def compare(
    first: Results,
    second: Results,
    *,
    nme_pair: Sequence[str] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What comparison.json holds: each number of both, their difference A - B with its 95 % interval.

    Subjects are matched by picture, keypoints by name, and only what both were asked is counted. Both are resampled
    together, so that what makes a picture hard for both cancels; `p_a_better` is the share of resamples in which A
    is better, half of those in which they are equal. Raises ValueError where nothing matches, or the labels differ.
    """
    a, b = matched(first, second)
    measures = point_measures(a, nme_pair), point_measures(b, nme_pair)
    unit, kind = find_units(a.images, a.groups)
    counts = draw_counts(int(unit.max()) + 1, draws, seed)
    numbers = {}
    for name in measures[0]:
        values = [summarize(name, found[name]) for found in measures]
        if values[0] is not None and values[1] is not None:
            drawn = [draws_of(name, found[name], unit, counts) for found in measures]
            difference = _difference(name, values[0] - values[1], drawn[0] - drawn[1], counts.shape[1])
            numbers[name] = {"a": values[0], "b": values[1], **difference}
    return {
        **(about or {}),
        "images": len(set(a.images)),
        "subjects": len(a),
        "points": int(a.labelled.sum()),
        "keypoints": list(a.skeleton.names),
        "resampled": {"unit": kind, "units": counts.shape[1], "draws": draws},
        "overall": numbers,
        "definitions": {name: DEFINITIONS[name] for name in numbers},
    }


def matched(first: Results, second: Results) -> tuple[Results, Results]:
    """Both results with the subjects and keypoints that both have, in one order.

    Subjects of one picture are told apart by their labels. Raises ValueError where there is nothing in common, and
    where a picture is in both but none of its labels are.
    """
    names = [name for name in first.skeleton.names if name in second.skeleton.names]
    if not names:
        raise ValueError("the two results have no keypoint of the same name; evaluate the same keypoints")
    a, b = first.with_keypoints(names), second.with_keypoints(names)
    rows = {key: i for i, key in enumerate(_keys(b))}
    pairs = [(i, rows[key]) for i, key in enumerate(_keys(a)) if key in rows]
    shared, found = set(a.images) & set(b.images), {a.images[i] for i, _ in pairs}
    if not shared:
        raise ValueError("the two results have no picture in common; evaluate both on the same data and split")
    if shared - found:
        raise ValueError(
            f"the labels of {len(shared - found)} pictures differ between the two results, first of"
            f" {min(shared - found)}; evaluate both on the same labels"
        )
    return a.select(i for i, _ in pairs), b.select(j for _, j in pairs)


def _keys(results: Results) -> list[tuple[str, bytes, int]]:
    """Each subject's picture and labels, and which it is of those that are alike."""
    seen: Counter[tuple[str, bytes]] = Counter()
    keys = []
    for image, truth in zip(results.images, results.truth, strict=True):
        key = (image, np.round(truth, 4).tobytes())
        keys.append((*key, seen[key]))
        seen[key] += 1
    return keys


def _difference(name: str, value: float, drawn: np.ndarray, units: int) -> dict[str, float]:
    """The difference, and what its resamples (draws,) say of it; nothing more from a single unit, or none."""
    ends = interval(drawn)
    if ends is None or units < 2:
        return {"difference": value}
    gain = drawn[np.isfinite(drawn)] * (-1 if name in LOWER else 1)
    better = float((gain > 0).mean() + (gain == 0).mean() / 2)
    return {"difference": value, "low": ends[0], "high": ends[1], "p_a_better": better}
