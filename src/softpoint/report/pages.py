"""Pages of a report, from the results and the numbers that evaluate and train write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from softpoint import __version__
from softpoint.colors import line_colors, to_hex
from softpoint.evaluation.results import Results
from softpoint.evaluation.risk import describe_risk
from softpoint.evaluation.subjects import SubjectResults
from softpoint.evaluation.tables import (
    Table,
    compared_parts_table,
    comparison_table,
    overall_table,
    parts_table,
    quarters_table,
    regions_table,
    skipped_lines,
    states_table,
    verdict,
)
from softpoint.inference.regions import SETS
from softpoint.metrics.calibration import FRACTION
from softpoint.report import figures
from softpoint.report.facts import Facts, data_facts
from softpoint.report.gallery import DIFFERENT, Load, cases, choose, mean_errors
from softpoint.report.subjects import subject_section
from softpoint.viz import palette
from softpoint.viz.theme import style_sheet

_FOLDER = Path(__file__).parent
_HEADLINES = ("epe", "median", "pck@0.05", "pck@0.1", "ece", "coverage_90")
_OPEN_ROWS = 12  # of a table, beyond which it is folded
_MAX_ROWS = 300


def evaluation_page(
    results: Results,
    metrics: Mapping[str, Any],
    load: Load,
    facts: Facts,
    warnings: Sequence[str] = (),
    command: str = "",
    title: str = "",
    found: tuple[SubjectResults, Load] | None = None,
) -> str:
    """Return the report of one model as HTML.

    Args:
        metrics: the content of metrics.json, of these results; the page shows no other numbers in its tables.
        load: returns the image of a subject of `results`, see `gallery`.
        facts: of the model, see `model_facts`.
        warnings: those that the command gave.
        command: writes this page again.
        title: of the page; by default it names the split.
        found: subjects that the model finds itself, measured under "finding" of `metrics`, and their images by place.
    """
    fraction, drawn = metrics.get("confidence_fraction", FRACTION), figures.Plots()
    labeled = bool(results.labeled.any())
    groups = _largest(metrics["groups"], _mean_error) if len(metrics["groups"]) > 1 else {}
    overall = overall_table(metrics)
    return _render(
        "evaluation.html.jinja",
        drawn,
        title=title or f"Evaluation on {metrics.get('split', 'the test')} images",
        headlines=[row for name, row in zip(metrics["overall"], overall.rows, strict=True) if name in _HEADLINES],
        overall=overall,
        states=states_table(metrics),
        keypoints=parts_table("keypoint", _largest(metrics["keypoints"], _mean_error)),
        groups=parts_table("group", groups) if groups else None,
        quarters=quarters_table(metrics, fraction) if labeled else None,
        regions=regions_table(metrics),
        sets=regions_table(metrics, SETS),
        risk=describe_risk(metrics["risk"]) if "risk" in metrics else "",
        risk_plots=[figures.risk_plot(drawn, metrics["risk"])] if "risk" in metrics else [],
        curves=figures.curves(drawn, results) if labeled else [],
        keypoint_plots=[figures.keypoint_plot(drawn, results)] if labeled else [],
        group_plots=[figures.group_plot(drawn, results)] if labeled and groups else [],
        reliability=figures.reliability(drawn, results, metrics, fraction) if labeled else [],
        swatches=dict(zip(results.skeleton.names, map(to_hex, palette(len(results.skeleton)).tolist()), strict=True)),
        gallery={name: cases({"": results}, rows, load) for name, rows in choose(mean_errors(results)).items()},
        letters=[""],
        subjects=None if found is None else subject_section(drawn, found[0], metrics["finding"], found[1]),
        counts={"keypoints": len(metrics["keypoints"]), "groups": len(metrics["groups"])},
        facts={"Model": facts, "Data": data_facts(metrics)},
        warnings=warnings,
        notes=metrics["notes"],
        skipped=skipped_lines(metrics),
        meanings=[metrics["definitions"][name] for name in metrics["overall"]],
        scale=metrics["definitions"]["scale"],
        command=command,
    )


def comparison_page(
    models: Mapping[str, Results],
    comparisons: Mapping[str, Mapping[str, Any]],
    load: Load,
    facts: Mapping[str, Facts],
    warnings: Sequence[str] = (),
    command: str = "",
    title: str = "",
) -> str:
    """Return the report of several models, called A, B, and so on, on the same points.

    `comparisons` has the content of comparison.json of A and each other model, by the other's letter, and `facts` those
    of each model. The rest is as in `evaluation_page`.
    """
    drawn, first = figures.Plots(), next(iter(comparisons.values()))
    errors = np.stack([mean_errors(results) for results in models.values()])
    labeled = np.flatnonzero(np.isfinite(errors[0]))
    spread = np.ptp(errors[:, labeled], axis=0)
    differing = labeled[np.argsort(-spread, kind="stable")][:DIFFERENT].tolist()
    skeleton, grouped = next(iter(models.values())).skeleton, bool(first["groups"])
    return _render(
        "comparison.html.jinja",
        drawn,
        title=title or f"Comparison of {len(models)} models",
        models={"A": first.get("a", "A")}
        | {other: comparison.get("b", other) for other, comparison in comparisons.items()},
        verdicts=[verdict(comparison, other) for other, comparison in comparisons.items()],
        tables={other: comparison_table(comparison, other) for other, comparison in comparisons.items()},
        keypoints=_compared_parts("keypoint", comparisons),
        groups=_compared_parts("group", comparisons) if grouped else {},
        curves=figures.model_plots(drawn, models) if len(labeled) else [],
        keypoint_plots=[figures.model_keypoint_plot(drawn, models)] if len(labeled) else [],
        group_plots=[figures.model_group_plot(drawn, models)] if len(labeled) and grouped else [],
        swatches=dict(zip(skeleton.names, map(to_hex, palette(len(skeleton)).tolist()), strict=True)),
        gallery={"Where the models differ most": cases(models, differing, load)} if differing else {},
        letters=list(models),
        counts={"keypoints": len(skeleton), "groups": len(first["groups"])},
        facts={**{f"Model {letter}": entries for letter, entries in facts.items()}, "Data": data_facts(first)},
        warnings=warnings,
        notes=list(dict.fromkeys(note for comparison in comparisons.values() for note in comparison["notes"])),
        skipped=list(dict.fromkeys(line for comparison in comparisons.values() for line in skipped_lines(comparison))),
        definitions=first["definitions"],
        command=command,
    )


def _compared_parts(kind: str, comparisons: Mapping[str, Mapping[str, Any]]) -> dict[str, Table]:
    """The table of each other model's errors on each keypoint or group beside those of A."""
    return {
        other: compared_parts_table(kind, _largest(comparison[f"{kind}s"], _difference_size), other)
        for other, comparison in comparisons.items()
    }


def _difference_size(entry: Mapping[str, Any]) -> float:
    return abs(entry["epe"]["difference"]) if "epe" in entry else -1.0


def _mean_error(entry: Mapping[str, Any]) -> float:
    return float(entry.get("epe", -1.0))


def _largest(
    entries: Mapping[str, Mapping[str, Any]], size: Callable[[Mapping[str, Any]], float]
) -> dict[str, Mapping[str, Any]]:
    """The entries; of more than a page can show those of the largest size."""
    if len(entries) <= _MAX_ROWS:
        return dict(entries)
    return {name: entries[name] for name in sorted(entries, key=lambda name: -size(entries[name]))[:_MAX_ROWS]}


def _render(template: str, drawn: figures.Plots, **content: Any) -> str:
    """The page; text of any origin is escaped by the template, and halves of surrogate pairs become "?"."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = content["swatches"]
    originals = dict(zip(line_colors(len(names)), names.values(), strict=True))
    style = style_sheet(drawn.colors, originals) + (_FOLDER / "report.css").read_text(encoding="utf-8")
    page = environment.get_template(template).render(
        style=style, version=__version__, open_rows=_OPEN_ROWS, max_rows=_MAX_ROWS, **content
    )
    return page.encode("utf-8", "replace").decode()
