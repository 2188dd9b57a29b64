"""A threshold of confidence that keeps a stated rate of wrong points, found by evaluate and used by predict."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.evaluation.bootstrap import count_units, find_units
from softpoint.evaluation.results import Results
from softpoint.labels.csv_io import exact, write_rows
from softpoint.metrics.risk import choose_threshold, needed_units, risk_coverage, upper_bound
from softpoint.suggest import did_you_mean

_EXAMPLE = "risk={error: 5px, rate: 0.02, confidence: 0.95}"
_KEYS = ("error", "rate", "confidence")
RISK_CURVE = "risk_coverage.csv"
_MAX_BYTES = 1 << 26  # of a file that names a threshold


@dataclass(frozen=True)
class Risk:
    """What may go wrong: at most `rate` of accepted points are off by more than `error`, with `confidence`."""

    error: float  # in px, or as a fraction of the subject's size
    in_pixels: bool
    rate: float
    confidence: float = 0.95

    @classmethod
    def parse(cls, value: Any) -> Risk:
        """Return the risk that a command line states; ValueError for anything else.

        >>> Risk.parse({"error": "5px", "rate": 0.02}), Risk.parse({"error": 0.05, "rate": 0.02}).in_pixels
        (Risk(error=5.0, in_pixels=True, rate=0.02, confidence=0.95), False)
        """
        if not isinstance(value, Mapping):
            raise ValueError(f"risk={value} must name an error and a rate, such as '{_EXAMPLE}'")
        if unknown := [key for key in value if key not in _KEYS]:
            raise ValueError(f"risk.{unknown[0]}: {did_you_mean(str(unknown[0]), _KEYS)}")
        if missing := [key for key in ("error", "rate") if value.get(key) is None]:
            raise ValueError(f"risk has no {missing[0]}; an example is '{_EXAMPLE}'")
        text = str(value["error"]).strip()
        try:
            error = float(text.removesuffix("px"))
            rate, confidence = float(value["rate"]), float(value.get("confidence", cls.confidence))
        except ValueError:
            raise ValueError(f"risk={dict(value)}: each value must be a number; an example is '{_EXAMPLE}'") from None
        if not 0 < error < np.inf or not 0 < rate < 1 or not 0.5 <= confidence < 1:
            raise ValueError(
                f"risk={dict(value)}: the error must be positive, such as 5px or 0.05 of the subject's size, the rate"
                " between 0 and 1, and the confidence from 0.5 to below 1"
            )
        return cls(error, text.endswith("px"), rate, confidence)

    @property
    def limit(self) -> str:
        """The error in words."""
        return f"{self.error:g} px" if self.in_pixels else f"{100 * self.error:g} % of the subject's size"


def measure_risk(results: Results, risk: Risk) -> dict[str, Any]:
    """Return the threshold and the curve for metrics.json; the threshold is None where none is shown to keep the rate.

    `curve` has, for each tested threshold, the share of points that it accepts, the share of these that are wrong, each
    unit weighing the same, the bound of this rate with the stated confidence for one threshold alone, and their number.
    """
    unit, kind = find_units(results.images, results.groups, results.has_groups)
    labeled = results.labeled
    limits = np.full(len(results), risk.error) if risk.in_pixels else risk.error * results.scale
    points = results.confidence[labeled], (results.errors > limits[:, None])[labeled]
    owner = np.broadcast_to(unit[:, None], labeled.shape)[labeled]
    units = len(np.unique(owner))
    needed = needed_units(risk.rate, risk.confidence, single=units == len(owner))
    rows = risk_coverage(*points, owner) if units else []
    curve = [
        {"threshold": row.threshold, "accepted": row.share, "wrong": row.wrong}
        | {"bound": upper_bound(points[0] >= row.threshold, points[1], owner, risk.confidence), "points": row.points}
        for row in rows
    ]
    threshold = choose_threshold(*points, owner, risk.rate, risk.confidence) if units else None
    error = f"{risk.error:g}px" if risk.in_pixels else risk.error
    return {
        "error": error, "rate": risk.rate, "confidence": risk.confidence, "limit": risk.limit,
        "threshold": threshold, "units": units, "unit": kind, "needed_units": needed, "curve": curve,
    }  # fmt: skip


def describe_risk(entry: Mapping[str, Any]) -> str:
    """Return a sentence on the threshold, or on why there is none."""
    promise = f"at most {100 * entry['rate']:g} % of accepted points are off by more than {entry['limit']}"
    sure = f"with {100 * entry['confidence']:g} % confidence"
    units, needed = count_units(entry["units"], entry["unit"]), entry["needed_units"]
    if entry["threshold"] is None and entry["units"] < needed:
        return (
            f"no threshold: {units} are too few to show {sure} that {promise}; {needed} without a wrong point"
            " would be the fewest: evaluate on more, or state a larger rate"
        )
    if entry["threshold"] is None:
        best = min((row for row in entry["curve"] if row["points"]), key=lambda row: row["bound"])
        return (
            f"no threshold shows {sure} that {promise}: the smallest bound is {100 * best['bound']:.1f} %, for"
            f" confidences from {best['threshold']:g} on ({units}); state a larger rate or error, or evaluate on"
            " more"
        )
    row = next(row for row in entry["curve"] if abs(row["threshold"] - entry["threshold"]) < 1e-9)
    return (
        f"accept={entry['threshold']:g}: {sure}, {promise} (here {100 * row['wrong']:.1f} % of the"
        f" {100 * row['accepted']:.0f} % that it accepts, by {units})"
    )


def write_risk(folder: Path, entry: Mapping[str, Any]) -> None:
    """Write the curve, one row per threshold."""
    columns = ("threshold", "accepted", "wrong", "bound", "points")
    rows = [[str(row[name]) if name == "points" else exact(row[name]) for name in columns] for row in entry["curve"]]
    write_rows(folder / RISK_CURVE, [list(columns), *rows])


def read_threshold(path: Path) -> tuple[float, dict[str, Any]]:
    """Return the threshold in a metrics.json of `evaluate risk=`, and that file; ValueError where it holds none."""
    if not path.is_file():
        raise FileNotFoundError(
            f"accept={path}: there is no such file; give a number from 0 to 1, or the metrics.json of softpoint"
            " evaluate risk=..."
        )
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("too large")
        content = dict(json.loads(path.read_text(encoding="utf-8")))
        entry = content["risk"]
        threshold = None if entry["threshold"] is None else float(entry["threshold"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError(
            f"accept={path} is no metrics.json of softpoint evaluate risk='{{error: 5px, rate: 0.02}}'"
        ) from None
    if threshold is None:
        raise ValueError(
            f"accept={path}: its evaluation found no threshold that keeps the rate; evaluate again on"
            " more images, or with a larger rate"
        )
    if not 0 <= threshold <= 1:
        raise ValueError(f"accept={path}: its threshold {threshold:g} is no probability")
    return threshold, content
