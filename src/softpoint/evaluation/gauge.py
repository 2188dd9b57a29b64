"""Gauge repeatability and reproducibility: parts that several operators image, each several times."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from softpoint.evaluation.repeatability import check_single, distances, measured_points
from softpoint.evaluation.results import Results
from softpoint.tables import NumberTable

# Above this probability of as much interaction by chance, it counts as part of the repeatability.
_POOLED = 0.25


class Gauge(NamedTuple):
    """Standard deviations of a measurement, by where they come from."""

    ev: float  # equipment variation, or repeatability: an operator images a part again
    av: float  # appraiser variation, or reproducibility: operators differ
    interaction: float  # operators differ at some parts otherwise than at others
    pv: float  # part variation: parts differ

    @property
    def grr(self) -> float:
        """That of the measurement: repeatability and reproducibility, with the interaction."""
        return float(np.linalg.norm(self[:3]))

    @property
    def tv(self) -> float:
        """Total variation."""
        return float(np.linalg.norm(self))

    @property
    def ndc(self) -> float:
        """Number of classes of parts that the measurement can tell apart, not rounded; infinite without noise."""
        return float(np.sqrt(2) * self.pv / self.grr) if self.grr > 0 else float("inf")

    @classmethod
    def of(cls, values: np.ndarray) -> Self:
        """Return the variation of values (parts, operators, trials), by a crossed analysis of variance.

        Parts and operators are random effects; estimates below 0 are 0. The interaction is pooled with the
        repeatability where an F test finds it with p > 0.25. Source: AIAG, Measurement Systems Analysis, 4th edition,
        2010, appendix A.

        >>> [round(value, 3) for value in Gauge.of(np.array([[[0.0, 2], [1, 3]], [[10, 12], [11, 13]]]))]
        [1.265, 0.316, 0.0, 7.043]
        """
        from scipy.stats import f

        parts, operators, trials = values.shape
        cells, mean = values.mean(2), values.mean()
        of_part, of_operator = cells.mean(1), cells.mean(0)
        free = {"part": parts - 1, "operator": operators - 1, "both": (parts - 1) * (operators - 1)}
        free["rest"] = parts * operators * (trials - 1)
        both = cells - of_part[:, None] - of_operator + mean
        squares = {
            "part": operators * trials * ((of_part - mean) ** 2).sum(),
            "operator": parts * trials * ((of_operator - mean) ** 2).sum(),
            "both": trials * (both**2).sum(),
            "rest": ((values - cells[..., None]) ** 2).sum(),
        }
        means = {name: squares[name] / free[name] for name in squares}
        rest = means["rest"]
        chance = f.sf(means["both"] / rest, free["both"], free["rest"]) if rest > 0 else 0.0
        if chance > _POOLED:
            pooled = (squares["both"] + squares["rest"]) / (free["both"] + free["rest"])
            means |= {"both": pooled, "rest": pooled}
        variances = (
            means["rest"],
            (means["operator"] - means["both"]) / (parts * trials),
            (means["both"] - means["rest"]) / trials,
            (means["part"] - means["both"]) / (operators * trials),
        )
        return cls(*np.sqrt(np.maximum(variances, 0.0)).tolist())

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values, with the share of each in the total variation."""
        every = {**self._asdict(), "grr": self.grr, "tv": self.tv}
        shares = {name: value / self.tv if self.tv > 0 else float("nan") for name, value in every.items()}
        return {**every, "shares": shares, "ndc": self.ndc}


def gauge_study(results: Results, parts: Sequence[str], operators: Sequence[str]) -> dict[str, Any]:
    """Return the variation of predictions of parts that every operator images equally often, in mm or pixels.

    `parts` and `operators` name those of each image. Of each keypoint it is that of the position, whose variances are
    the sums of those of x and y, and of the distances of `repeatability` that of their lengths. Raises ValueError for
    an image with several subjects, for fewer than two parts, operators or images of each, and for unequal numbers.
    """
    check_single(results)
    rows = crossed(parts, operators)
    points = measured_points(results)
    keypoints = {}
    for k, name in enumerate(results.skeleton.names):
        x, y = (Gauge.of(points[rows, k, axis]) for axis in (0, 1))
        keypoints[name] = Gauge(*map(math.hypot, x, y)).to_dict()
    lengths = {name: Gauge.of(length[rows]).to_dict() for name, length in distances(results, points)}
    counts = dict(zip(("parts", "operators", "trials"), rows.shape, strict=True))
    unit = "px" if results.plane is None else "mm"
    return {"unit": unit, **counts, "images": rows.size, "keypoints": keypoints, "distances": lengths}


def crossed(parts: Sequence[str], operators: Sequence[str]) -> np.ndarray:
    """Return the rows (parts, operators, trials) of each combination; ValueError where they are not equally many."""
    cells = Counter(zip(parts, operators, strict=True))
    names = [list(dict.fromkeys(column)) for column in (parts, operators)]
    most = max(cells.values())
    for part in names[0]:
        for operator in names[1]:
            if cells[part, operator] != most:
                raise ValueError(
                    f"repeat= finds {cells[part, operator]} images of part {part!r} by operator {operator!r}, and"
                    f" {most} of another part and operator: a gauge study needs as many of each; leave images out, or"
                    " leave the operator out of the expression"
                )
    if min(len(names[0]), len(names[1]), most) < 2:
        raise ValueError(
            f"repeat= finds {len(names[0])} parts, {len(names[1])} operators and {most} images of each: a gauge study"
            " needs two of each"
        )
    keys = list(zip(parts, operators, strict=True))
    order = [
        [[i for i, key in enumerate(keys) if key == (part, operator)] for operator in names[1]] for part in names[0]
    ]
    return np.array(order)


def gauge_tables(found: Mapping[str, Any] | None) -> list[NumberTable]:
    """Return the variation of keypoints and distances as tables for a terminal; none where it was not measured."""
    if found is None:
        return []
    title = (
        "Gauge study, as standard deviations in {unit}: {parts} parts, {operators} operators, {trials} images of each"
    )
    return [
        _table(name, found[kind], title.format(**found) if kind == "keypoints" else None)
        for name, kind in (("keypoint", "keypoints"), ("distance", "distances"))
        if found[kind]
    ]


def _table(name: str, entries: Mapping[str, Any], title: str | None) -> NumberTable:
    headings = ["repeatability", "reproducibility", "interaction", "GRR", "parts", "total", "% GRR", "% parts", "ndc"]
    table = NumberTable(name, headings, title)
    for key, entry in entries.items():
        deviations = [f"{entry[part]:.3f}" for part in ("ev", "av", "interaction", "grr", "pv", "tv")]
        shares = [f"{100 * entry['shares'][part]:.1f}" for part in ("grr", "pv")]
        table.add_row(key, *deviations, *shares, f"{entry['ndc']:.1f}")
    return table
