"""The files of an evaluation, each written completely or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from softpoint.evaluation.eval_sets import EvaluationSet
from softpoint.evaluation.plots import error_figure, reliability_figure, worst_figure
from softpoint.evaluation.results import Results
from softpoint.labels.csv_io import exact, write_rows
from softpoint.metrics.calibration import FRACTION
from softpoint.metrics.columns import COLUMNS
from softpoint.paths import write_json
from softpoint.viz import write_image
from softpoint.viz.figures import write_figure

_FIGURES = ("errors.png", "errors.svg", "reliability.png", "reliability.svg", "worst.png")


def write_evaluation(
    folder: Path, results: Results, metrics: Mapping[str, Any], eval_set: EvaluationSet | None = None
) -> None:
    """Write predictions.csv, per_keypoint.csv, metrics.json and, with the set that was predicted, figures.

    Files of an earlier evaluation are removed first, and metrics.json is written last: if it exists, all do.
    """
    for name in ("metrics.json", *_FIGURES):
        (folder / name).unlink(missing_ok=True)
    results.write(folder / "predictions.csv")
    write_per_keypoint(folder / "per_keypoint.csv", metrics)
    if eval_set is not None and results.labeled.any():
        write_figure(folder / "errors", error_figure(results))
        write_figure(folder / "reliability", reliability_figure(results, metrics.get("confidence_fraction", FRACTION)))
        write_image(folder / "worst.png", worst_figure(results, eval_set))
    write_json(folder / "metrics.json", metrics)


def write_comparison(folder: Path, first: Results, second: Results, comparison: Mapping[str, Any]) -> None:
    """Write predictions_a.csv, predictions_b.csv and, last, comparison.json; an earlier one is removed first."""
    (folder / "comparison.json").unlink(missing_ok=True)
    first.write(folder / "predictions_a.csv")
    second.write(folder / "predictions_b.csv")
    write_json(folder / "comparison.json", comparison)


def write_per_keypoint(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write a CSV of every metric of every keypoint, and of all of them together."""
    names = [name for name in COLUMNS if any(name in entry for entry in metrics["keypoints"].values())]
    overall = {name: ends["value"] for name, ends in metrics["overall"].items()} | {"points": metrics["points"]}
    rows = [*metrics["keypoints"].items(), ("all", overall)]
    cells = [[kp, str(entry["points"]), *(exact(entry.get(n, float("nan"))) for n in names)] for kp, entry in rows]
    write_rows(path, [["keypoint", "points", *names], *cells])
