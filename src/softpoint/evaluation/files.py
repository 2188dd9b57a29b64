"""The files of an evaluation, each written completely or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from softpoint.evaluation.plots import error_figure
from softpoint.evaluation.reliability_plots import reliability_figure
from softpoint.evaluation.results import Results
from softpoint.evaluation.risk import RISK_CURVE, write_risk
from softpoint.evaluation.subjects import SUBJECTS, SubjectResults, write_subjects
from softpoint.evaluation.subjects.plots import counts_figure, precision_recall_figure, score_figure
from softpoint.labels.csv_io import exact, write_rows
from softpoint.metrics.calibration import FRACTION
from softpoint.metrics.columns import COLUMNS
from softpoint.paths import write_json
from softpoint.viz.figures import write_figure

REPORT = "report.html"
# Of this version and of earlier ones.
_FIGURES = ("errors", "reliability", "precision_recall", "subject_scores", "subject_counts")
_FILES = (*(f"{name}.{suffix}" for name in _FIGURES for suffix in ("png", "svg")), "worst.png")


def write_evaluation(
    folder: Path,
    results: Results,
    metrics: Mapping[str, Any],
    found: SubjectResults | None = None,
    *,
    figures: bool = False,
) -> None:
    """Write predictions.csv, per_keypoint.csv, metrics.json and, if wanted, figures and risk_coverage.csv.

    Of a model that finds subjects subjects.csv holds those that are `found`, and metrics their "finding".

    Files of an earlier evaluation are removed first, and metrics.json is written last: if it exists, all do.
    """
    for name in ("metrics.json", REPORT, RISK_CURVE, SUBJECTS, *_FILES):
        (folder / name).unlink(missing_ok=True)
    results.write(folder / "predictions.csv")
    write_per_keypoint(folder / "per_keypoint.csv", metrics)
    if "risk" in metrics:
        write_risk(folder, metrics["risk"])
    if figures and results.labeled.any():
        write_figure(folder / "errors", error_figure(results))
        write_figure(folder / "reliability", reliability_figure(results, metrics.get("confidence_fraction", FRACTION)))
    if found is not None:
        write_subjects(folder / SUBJECTS, found)
        _write_finding_figures(folder, metrics["finding"] if figures else {})
    write_json(folder / "metrics.json", metrics)


def _write_finding_figures(folder: Path, finding: Mapping[str, Any]) -> None:
    if finding.get("subjects"):
        write_figure(folder / "precision_recall", precision_recall_figure(finding))
    if finding.get("score"):
        write_figure(folder / "subject_scores", score_figure(finding))
    if finding.get("counts"):
        write_figure(folder / "subject_counts", counts_figure(finding))


def write_comparison(folder: Path, models: Mapping[str, Results], comparisons: Mapping[str, Mapping[str, Any]]) -> None:
    """Write predictions_a.csv and so on of each model, and last what compares A with each other model.

    That is comparison.json of two models, and comparison_ab.json, comparison_ac.json and so on of more. Files of an
    earlier comparison are removed first.
    """
    for other in ("", *ascii_lowercase[1:]):
        if (earlier := folder / f"comparison{f'_a{other}' if other else ''}.json").is_file():
            for path in (earlier, *(folder / f"predictions_{letter}.csv" for letter in ("a", other or "b"))):
                path.unlink(missing_ok=True)
    (folder / REPORT).unlink(missing_ok=True)
    for letter, results in models.items():
        results.write(folder / f"predictions_{letter.lower()}.csv")
    for other, comparison in comparisons.items():
        pair = "" if len(comparisons) == 1 else f"_a{other.lower()}"
        write_json(folder / f"comparison{pair}.json", comparison)


def write_per_keypoint(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write a CSV of every metric of every keypoint, and of all of them together."""
    names = [name for name in COLUMNS if any(name in entry for entry in metrics["keypoints"].values())]
    overall = {name: ends["value"] for name, ends in metrics["overall"].items()} | {"points": metrics["points"]}
    rows = [*metrics["keypoints"].items(), ("all", overall)]
    cells = [[kp, str(entry["points"]), *(exact(entry.get(n, float("nan"))) for n in names)] for kp, entry in rows]
    write_rows(path, [["keypoint", "points", *names], *cells])
