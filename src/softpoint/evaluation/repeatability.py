"""Repeatability: how far predictions of the same part scatter over several images of it, without any label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from softpoint.evaluation.results import Results, group_rows
from softpoint.tables import NumberTable

_PAIRS_WITHOUT_EDGES = 6  # keypoints of which all distances are measured where the skeleton has no edge


class Variation(NamedTuple):
    """Standard deviations of a measurement: within a part, and of the parts themselves."""

    within: float
    between: float

    @property
    def gauge_share(self) -> float:
        """Fraction of the whole standard deviation that is the measurement's (% GRR); NaN where nothing varies."""
        total = np.hypot(self.within, self.between)
        return float(self.within / total) if total > 0 else float("nan")

    @property
    def distinct(self) -> float:
        """Number of classes of parts that the measurement can tell apart (ndc), not rounded; infinite without noise."""
        return float(np.sqrt(2) * self.between / self.within) if self.within > 0 else float("inf")


def variation(values: np.ndarray, part: np.ndarray) -> Variation:
    """Return the variation of values (N,) of parts (N,), by a one-way analysis of variance with random parts.

    Parts may have different numbers of values, of which at least one needs two. Source: Searle, Casella and McCulloch,
    Variance Components, 1992, section 3.6.

    >>> variation(np.array([1.0, 3.0, 11.0, 13.0]), np.array([0, 0, 1, 1])).within
    1.4142135623730951
    """
    _, index, counts = np.unique(part, return_inverse=True, return_counts=True)
    count, parts = len(values), len(counts)
    assert parts < count, "no part has two values"
    means = np.bincount(index, values) / counts
    within = ((values - means[index]) ** 2).sum() / (count - parts)
    if parts < 2:
        return Variation(float(np.sqrt(within)), float("nan"))
    among = (counts * (means - values.mean()) ** 2).sum() / (parts - 1)
    usual = (count - (counts**2).sum() / count) / (parts - 1)  # values of a part, where all have as many
    return Variation(float(np.sqrt(within)), float(np.sqrt(max((among - within) / usual, 0.0))))


def repeatability(results: Results, parts: Sequence[str]) -> dict[str, Any]:
    """Return the scatter of predictions within each part (N names, one of each image), in millimeters or pixels.

    Of each keypoint these are the standard deviations of x, of y and of the position, sqrt(var x + var y), which
    include any movement of the part between images. Distances, between the ends of each edge of the skeleton or of all
    pairs of up to six keypoints, do not: their variation within parts, and between them, is that of a gauge study.
    Raises ValueError for an image with several subjects, and where no part has two images.
    """
    check_single(results)
    rows = {name: chosen for name, chosen in group_rows(parts).items() if len(chosen) > 1}
    if not rows:
        raise ValueError(f"repeat= finds {len(set(parts))} parts in {len(results)} images, and none has two images")
    kept = np.concatenate([*rows.values()])
    part = np.repeat(np.arange(len(rows)), [len(chosen) for chosen in rows.values()])
    points = measured_points(results)[kept]
    keypoints = {}
    for k, name in enumerate(results.skeleton.names):
        x, y = (variation(points[:, k, axis], part).within for axis in (0, 1))
        keypoints[name] = {"x": x, "y": y, "position": float(np.hypot(x, y))}
    lengths_of = {}
    for name, lengths in distances(results, points):
        found = variation(lengths, part)
        lengths_of[name] = {
            "mean": float(lengths.mean()), **found._asdict(), "grr": found.gauge_share, "ndc": found.distinct,
        }  # fmt: skip
    unit = "px" if results.plane is None else "mm"
    return {"unit": unit, "parts": len(rows), "images": len(kept), "keypoints": keypoints, "distances": lengths_of}


def check_single(results: Results) -> None:
    """Raise ValueError for an image with several subjects."""
    if len(set(results.images)) < len(results):
        raise ValueError("repeat= needs one subject in each image, and an image here has several")


def measured_points(results: Results) -> np.ndarray:
    """Return the predicted points (N, K, 2), in millimeters where the plane is known."""
    return results.keypoints if results.plane is None else results.plane.points(results.keypoints)


def distances(results: Results, points: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and lengths (N,) of each edge of the skeleton, or of all pairs of up to six points (N, K, 2)."""
    names = results.skeleton.names
    pairs = results.skeleton.edges or (combinations(names, 2) if len(names) <= _PAIRS_WITHOUT_EDGES else ())
    for first, second in pairs:
        a, b = (points[:, results.skeleton.index(name)] for name in (first, second))
        yield f"{first} to {second}", np.linalg.norm(a - b, axis=-1)


def repeatability_tables(found: Mapping[str, Any] | None) -> list[NumberTable]:
    """Return the scatter of keypoints and distances as tables for a terminal; none where it was not measured."""
    if found is None:
        return []
    unit = found["unit"]
    title = f"Repeatability, as standard deviations in {unit}: {found['images']} images of {found['parts']} parts"
    points = NumberTable("keypoint", ["x", "y", "position"], title)
    for name, entry in found["keypoints"].items():
        points.add_row(name, *(f"{entry[key]:.3f}" for key in ("x", "y", "position")))
    distances = NumberTable(
        "distance", [*(f"{part} ({unit})" for part in ("mean", "within a part", "between parts")), "% GRR", "ndc"]
    )
    for name, entry in found["distances"].items():
        lengths = [f"{entry[key]:.3f}" for key in ("mean", "within", "between")]
        distances.add_row(name, *lengths, f"{100 * entry['grr']:.1f}", f"{entry['ndc']:.1f}")
    return [points, *([distances] if found["distances"] else [])]
