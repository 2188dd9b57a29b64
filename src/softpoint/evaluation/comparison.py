"""Two models on the same images: which is better, and how sure that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from softpoint.evaluation.bootstrap import draw_counts, find_units, interval
from softpoint.evaluation.measures import DEFINITIONS, LEVELS, LOWER, point_measures
from softpoint.evaluation.metrics_with_intervals import Drawn, Sigmas, of_calibration, of_oks, of_points
from softpoint.evaluation.oks import find_sigmas
from softpoint.evaluation.reliability import CALIBRATION
from softpoint.evaluation.results import Results
from softpoint.evaluation.summary import DRAWS, asked, resampled


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
) -> dict[str, Any]:
    """What comparison.json holds: each number of both, their difference A - B with its 95 % interval.

    Subjects are matched by image, keypoints by name, and only what both were asked is counted. Both are resampled
    together, so that what makes an image hard for both cancels; `p_a_better` is the share of resamples in which A
    is better, half of those in which they are equal. `fraction` is what the confidences of both are about (see
    `reliability`); without it calibration is not compared. Raises ValueError where nothing matches, or the labels
    differ, and as `evaluate` does.
    """
    pair = matched(first, second)
    if oks_sigmas is not None:  # which are given of the first's keypoints
        of_first = dict(zip(first.skeleton.names, find_sigmas(oks_sigmas, first.skeleton.names).tolist(), strict=True))
        oks_sigmas = [of_first[name] for name in pair[0].skeleton.names]
    unit, kind = find_units(pair[0].images, pair[0].groups)
    counts = draw_counts(int(unit.max()) + 1, draws, seed)
    both: list[dict[str, Drawn]] = []
    skipped = {} if fraction else dict.fromkeys(CALIBRATION, "no fraction says what the confidences of both are about")
    for results in pair:
        numbers = of_points(point_measures(results, nme_pair), unit, counts)
        numbers |= of_oks(results, oks_sigmas, unit, counts, skipped)
        both.append(numbers | (of_calibration(results, fraction, unit, counts, skipped) if fraction else {}))
    found = {name: _difference(name, a, both[1][name]) for name, a in both[0].items() if name in both[1]}
    return {
        **(about or {}),
        "images": len(set(pair[0].images)),
        "subjects": len(pair[0]),
        "points": int(pair[0].labeled.sum()),
        "keypoints": list(pair[0].skeleton.names),
        **asked(pair[0].skeleton, oks_sigmas, nme_pair),
        "resampled": resampled(kind, counts, seed),
        "overall": found,
        "skipped": skipped,
        "definitions": {name: DEFINITIONS[name] for name in found},
    }


def matched(first: Results, second: Results) -> tuple[Results, Results]:
    """Both results with the subjects and keypoints that both have, in one order.

    Subjects of one image are told apart by their labels. Raises ValueError where there is nothing in common, and
    where an image is in both but none of its labels are.
    """
    names = [name for name in first.skeleton.names if name in second.skeleton.names]
    if not names:
        raise ValueError("the two results have no keypoint of the same name; evaluate the same keypoints")
    a, b = first.with_keypoints(names), second.with_keypoints(names)
    rows = {key: i for i, key in enumerate(_keys(b))}
    pairs = [(i, rows[key]) for i, key in enumerate(_keys(a)) if key in rows]
    shared, found = set(a.images) & set(b.images), {a.images[i] for i, _ in pairs}
    if not shared:
        raise ValueError("the two results have no image in common; evaluate both on the same data and split")
    if shared - found:
        raise ValueError(
            f"the labels of {len(shared - found)} images differ between the two results, first of"
            f" {min(shared - found)}; evaluate both on the same labels"
        )
    return a.select(i for i, _ in pairs), b.select(j for _, j in pairs)


def _keys(results: Results) -> list[tuple[str, bytes, int]]:
    """Each subject's image and labels, and which it is of those that are alike."""
    seen: Counter[tuple[str, bytes]] = Counter()
    keys = []
    for image, truth in zip(results.images, results.truth, strict=True):
        key = (image, np.round(truth, 4).tobytes())
        keys.append((*key, seen[key]))
        seen[key] += 1
    return keys


def _difference(name: str, a: Drawn, b: Drawn) -> dict[str, float]:
    """Both values, A - B, and what its resamples say of it; nothing more where there are none."""
    found = {"a": a.value, "b": b.value, "difference": a.value - b.value}
    if len(a.draws) != len(b.draws) or (ends := interval(a.draws - b.draws)) is None:
        return found
    gain = _loss(name, b.draws) - _loss(name, a.draws)
    gain = gain[np.isfinite(gain)]
    return found | {"low": ends[0], "high": ends[1], "p_a_better": float((gain > 0).mean() + (gain == 0).mean() / 2)}


def _loss(name: str, values: np.ndarray) -> np.ndarray:
    """What is better the smaller it is."""
    if name in LEVELS:
        return np.abs(values - LEVELS[name])
    return values if name in LOWER else -values
