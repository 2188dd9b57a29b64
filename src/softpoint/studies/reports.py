"""Reports of studies: a table in Markdown and in CSV, a chart, and everything measured as JSON."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from softpoint.evaluation.reliability_plots import reliability_figure
from softpoint.evaluation.results import Results
from softpoint.evaluation.subjects.tables import finding_table
from softpoint.evaluation.tables import Cell
from softpoint.metrics.columns import COLUMNS
from softpoint.paths import write_json, write_text
from softpoint.studies.charts import comparison_chart, curve_chart, fold_chart
from softpoint.studies.markdown import failures, interval_text, paragraphs, write_table
from softpoint.studies.runs import slug
from softpoint.tables import markdown_table
from softpoint.viz.figures import write_figure


def write_cross_validation(folder: Path, summary: Mapping[str, Any], results: Results, name: str) -> str:
    """Write crossval.json, folds.csv, predictions.csv, crossval.md and two charts; return the Markdown.

    `summary` and `results` are of `cross_validation`, on the data set `name`.
    """
    text = describe_cross_validation(summary, name)
    write_table(folder / "folds.csv", summary["runs"])
    results.write(folder / "predictions.csv")
    write_figure(folder / "crossval", fold_chart(summary, name))
    write_figure(folder / "reliability", reliability_figure(results, summary["confidence_fraction"]))
    write_text(folder / "crossval.md", text)
    write_json(folder / "crossval.json", summary)
    return text


def write_comparison(folder: Path, summary: Mapping[str, Any]) -> str:
    """Write JSON, CSV, Markdown and a chart of a `comparison` on one data set, by its name; return the Markdown."""
    name, text = slug(summary["on"]), describe_comparison(summary)
    rows = []
    for variant, entry in summary["variants"].items():
        shared = {"variant": variant, "overrides": " ".join(entry["overrides"])}
        cost = {f"cost_{key}": value for key, value in entry["cost"].items()}
        rows += [shared | {"seed": seed} | scores | cost for seed, scores in entry["seeds"].items()]
        rows += [shared | {"seed": f["seed"], "failed": f["why"].partition("\n")[0]} for f in entry["failed"]]
    write_table(folder / f"{name}.csv", rows)
    if any("epe" in entry for entry in summary["variants"].values()):
        write_figure(folder / name, comparison_chart(summary))
    write_text(folder / f"{name}.md", text)
    write_json(folder / f"{name}.json", summary)
    return text


def write_curve(folder: Path, summary: Mapping[str, Any]) -> str:
    """Write curve.json, curve.csv (one row per training), curve.md and a chart of a curve; return the Markdown."""
    text, timed = describe_curve(summary), summary["unit"] == "minutes"
    column = "budget" if timed else summary["unit"]  # the minutes in curve.csv are those that a training took
    rows = [
        {"line": line, column: int(size), "seed": int(seed)} | scores
        for line, sizes in summary["lines"].items()
        for size, point in sizes.items()
        for seed, scores in point["seeds"].items()
    ]
    write_table(folder / "curve.csv", rows)
    title = f"{summary['on']}: test error {'by time' if timed else 'with few labels'}, 95 % intervals"
    x_label = "minutes of training" if timed else f"training {summary['unit']}"
    write_figure(folder / "curve", curve_chart(summary, title, x_label))
    write_text(folder / "curve.md", text)
    write_json(folder / "curve.json", summary)
    return text


def describe_cross_validation(summary: Mapping[str, Any], name: str) -> str:
    """Return a cross-validation as Markdown."""
    overall, seeds = summary["overall"], summary["seeds"]
    shown = _shown([overall])
    rows = [
        [f"fold {fold}", *_cells({key: stats["mean"] for key, stats in metrics.items()}, shown)]
        for fold, metrics in summary["folds"].items()
    ]
    if len(seeds) > 1:
        rows += [[f"seed {seed}", *_cells(metrics, shown)] for seed, metrics in seeds.items()]
    rows.append(["all folds", *(interval_text(overall[key], COLUMNS[key].format) for key in shown)])
    if "low" in overall["epe"]:
        intervals = f"In brackets, 95 % intervals by bootstrap over {summary['resampled']['unit']}."
    else:
        intervals = f"There are no intervals: {summary['skipped'].get('intervals', 'too few images')}."
    spread = ", ".join(f"fold {fold} {_number(m['epe']['spread'])}" for fold, m in summary["folds"].items())
    return paragraphs(
        f"### Cross-validation on {name}",
        f"{summary['images']} images, each tested once per seed by a model trained without it; "
        f"{len(summary['folds'])} folds, seed {' and '.join(seeds)}. {intervals} Coverage is of the 90 % ellipses.",
        markdown_table(["", *shown], rows),
        _finding(summary["finding"]) if "finding" in summary else "",
        f"Standard deviation of EPE over the seeds: {spread}." if len(seeds) > 1 else "",
        failures([f"{failed['run']}: {failed['why']}" for failed in summary["failed"]]),
        f"`{summary['command']}`, {summary['budget']}, {_number(summary['minutes'], '.1f')} minutes of training in "
        f"all, on {summary['hardware']}.",
    )


def _finding(finding: Mapping[str, Any]) -> str:
    """What the models find in whole images, as Markdown."""
    table = finding_table(finding)
    rows = []
    for name, (oks, oks_ends, distance, distance_ends) in table.rows:
        rows.append([name, *(_with_ends(value, ends) for value, ends in ((oks, oks_ends), (distance, distance_ends)))])
    return paragraphs(
        f"In whole images, by the models of one seed: {table.title}.",
        markdown_table(["", table.headings[0], table.headings[2]], rows),
    )


def _with_ends(value: Cell, ends: Cell) -> str:
    texts = [number.text for number in (*value, *ends)]
    return f"{texts[0]} ({texts[1]} to {texts[2]})" if len(texts) == 3 else "".join(texts) or "-"


def describe_comparison(summary: Mapping[str, Any]) -> str:
    """Return a comparison on one data set as Markdown."""
    shown = _shown([entry.get("means", {}) for entry in summary["variants"].values()])[1:]
    header = [summary["study"], "EPE px", "difference", *shown, "training min", "step", "inference", "parameters"]
    rows = [_variant_row(name, entry, shown) for name, entry in summary["variants"].items()]
    failed = [f"{f['run']}: {f['why']}" for entry in summary["variants"].values() for f in entry["failed"]]
    if len(seeds := summary["seeds"]) > 1:
        intervals = (
            f"Means over seeds {', '.join(map(str, seeds))} with 95 % intervals by Student's t, which predict another "
            "seed. Differences are paired by seed with the first row."
        )
    else:
        intervals = (
            f"Seed {seeds[0]} alone, with 95 % intervals by bootstrap over the test images, which do not predict "
            "another seed. Differences are paired by image with the first row."
        )
    overrides = [
        f"{name}: " + (f"`{shlex.join(entry['overrides'])}`" if entry["overrides"] else "no change")
        for name, entry in summary["variants"].items()
    ]
    return paragraphs(
        f"### {summary['title']} on {summary['on']}",
        f"{intervals} Step and inference are times as multiples of the first row's, on the CPU, measured in turns in"
        " one run.",
        summary.get("note", ""),
        markdown_table(header, rows),
        failures(failed),
        "; ".join(overrides) + ".",
        f"`{summary['command']}`, {summary['budget']}, on {summary['hardware']}.",
    )


def describe_curve(summary: Mapping[str, Any]) -> str:
    """Return a learning curve as Markdown."""
    unit, several, seeds = summary["unit"], len(summary["lines"]) > 1, summary["seeds"]
    shown = _shown([point["means"] for sizes in summary["lines"].values() for point in sizes.values()])
    rows, failed = [], []
    for line, sizes in summary["lines"].items():
        for size, point in sizes.items():
            epe = interval_text(point["epe"]) if point["epe"] else "failed"
            rows.append([*([line] if several else []), size, epe, *_cells(point["means"], shown[1:])])
            failed += point["failed"]
    if unit == "minutes":
        title, trained = "Minutes of training", "for so many minutes"
    else:
        title, trained = "Learning curve", f"on so many {unit}, the smaller sets of a seed inside its larger ones"
    source = "over the seeds" if len(seeds) > 1 else "by bootstrap over the test images"
    return paragraphs(
        f"### {title} on {summary['on']}",
        f"Trained {trained}, and tested on the same images with every seed. "
        f"Seeds {', '.join(map(str, seeds))}; in brackets, 95 % intervals {source}.",
        markdown_table([*(["line"] if several else []), unit, *shown], rows),
        failures(failed),
        f"`{summary['command']}`, {summary['budget']}, on {summary['hardware']}.",
    )


def _variant_row(name: str, entry: Mapping[str, Any], shown: Sequence[str]) -> list[str]:
    """Return the row of one variant; where some seeds failed, it names those that are left."""
    if "epe" not in entry:
        return [name, "failed", *["-"] * (len(shown) + 5)]
    cost, difference = entry["cost"], entry.get("difference")
    change = interval_text(difference, "+.2f") if difference else "-"
    parameters = cost.get("parameters")
    return [
        name + (f" (seed {' and '.join(entry['seeds'])} alone)" if entry["failed"] else ""),
        interval_text(entry["epe"]),
        f"**{change}**" if difference and difference["excludes_zero"] else change,
        *_cells(entry["means"], shown),
        _number(entry["means"].get("minutes"), ".1f"),
        *(_number(cost.get(key)) for key in ("step", "inference")),
        "-" if parameters is None else f"{parameters / 1e6:.2f} M",
    ]


def _shown(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the metrics of tables that any of the entries has: EPE first, and those of the calibration last."""
    present = set().union(*entries)
    return [name for name, column in COLUMNS.items() if name in present and (column.brief or name == "ece")]


def _cells(metrics: Mapping[str, float], names: Sequence[str]) -> list[str]:
    """Return metrics as cells of a table, a dash for each that is missing."""
    return [_number(metrics.get(name), COLUMNS[name].format) for name in names]


def _number(value: float | None, format_spec: str = ".2f") -> str:
    return "-" if value is None else format(value, format_spec)
