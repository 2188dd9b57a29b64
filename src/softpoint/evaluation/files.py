"""An evaluation as files, each written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from softpoint.evaluation.eval_sets import EvaluationSet
from softpoint.evaluation.measures import DEFINITIONS
from softpoint.evaluation.plots import error_figure, worst_figure
from softpoint.evaluation.reliability import FRACTION, reliability_figure
from softpoint.evaluation.results import Results
from softpoint.labels.csv_io import exact, write_rows
from softpoint.paths import write_json
from softpoint.viz.files import write_image

_IMAGES = ("errors", "worst", "reliability")


def write_evaluation(
    folder: Path, results: Results, metrics: Mapping[str, Any], given: EvaluationSet | None = None
) -> None:
    """Writes predictions.csv, per_keypoint.csv, metrics.json and, with the set that was predicted, images.

    What an earlier evaluation left there is removed first, and metrics.json comes last: where it is, everything is.
    """
    for name in ("metrics.json", *(f"{image}.png" for image in _IMAGES)):
        (folder / name).unlink(missing_ok=True)
    results.write(folder / "predictions.csv")
    write_per_keypoint(folder / "per_keypoint.csv", metrics)
    if given is not None and results.labeled.any():
        fraction = metrics.get("confidence_fraction", FRACTION)
        figures = error_figure(results), worst_figure(results, given), reliability_figure(results, fraction)
        for name, image in zip(_IMAGES, figures, strict=True):
            write_image(folder / f"{name}.png", image)
    write_json(folder / "metrics.json", metrics)


def write_comparison(folder: Path, first: Results, second: Results, found: Mapping[str, Any]) -> None:
    """Writes predictions_a.csv, predictions_b.csv and, last, comparison.json; an earlier one is removed first."""
    (folder / "comparison.json").unlink(missing_ok=True)
    first.write(folder / "predictions_a.csv")
    second.write(folder / "predictions_b.csv")
    write_json(folder / "comparison.json", found)


def write_per_keypoint(path: Path, metrics: Mapping[str, Any]) -> None:
    """Writes a CSV of every number of every keypoint, and of all of them together."""
    names = [name for name in DEFINITIONS if any(name in entry for entry in metrics["keypoints"].values())]
    overall = {name: ends["value"] for name, ends in metrics["overall"].items()} | {"points": metrics["points"]}
    rows = [*metrics["keypoints"].items(), ("all", overall)]
    cells = [[kp, str(entry["points"]), *(exact(entry.get(n, float("nan"))) for n in names)] for kp, entry in rows]
    write_rows(path, [["keypoint", "points", *names], *cells])
