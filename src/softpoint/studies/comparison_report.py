"""A comparison as people read it: a table, a chart, files."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from softpoint.paths import write_json, write_text
from softpoint.studies.charts import comparison_chart
from softpoint.studies.markdown import (
    failures,
    first_line,
    markdown_table,
    number,
    with_ends,
    write_table,
)
from softpoint.studies.runs import slug
from softpoint.studies.statistics import Interval
from softpoint.viz.figures import write_figure

# What tables show beside EPE, with digits after the point.
SHOWN = {"median": 2, "pck@0.05": 3, "pck@0.1": 3, "ece": 3}


def write_comparison(folder: Path, found: Mapping[str, Any]) -> str:
    """Writes SET.md, SET.csv and SET.png of one data set; what SET.md says."""
    name, text = slug(found["on"]), describe(found)
    write_table(folder / f"{name}.csv", rows(found))
    if any("epe" in entry for entry in found["variants"].values()):
        write_figure(folder / name, comparison_chart(found))
    write_text(folder / f"{name}.md", text)
    write_json(folder / f"{name}.json", found)
    return text


def describe(found: Mapping[str, Any]) -> str:
    """A comparison on one data set as Markdown."""
    header = [found["study"], "EPE px", "difference", *SHOWN, "training min", "step", "inference", "parameters"]
    lines = [_line(name, entry) for name, entry in found["variants"].items()]
    failed = [f"{f['run']}: {f['why']}" for entry in found["variants"].values() for f in entry["failed"]]
    text = [
        f"### {found['title']} on {found['on']}",
        "",
        f"{_explained(found)} Step and inference: time as a multiple of the first's, on the CPU, measured in turns in"
        " one run.",
        "",
        *([found["note"], ""] if found.get("note") else []),
        markdown_table(header, lines),
        "",
        *failures(failed),
        "; ".join(f"{name}: {_overrides(entry)}" for name, entry in found["variants"].items()) + ".",
        "",
        f"`{found['command']}`, {found['budget']}, on {found['hardware']}.",
    ]
    return "\n".join(text)


def rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each variant and seed, with all that was measured."""
    table = []
    for name, entry in found["variants"].items():
        shared = {"variant": name, "overrides": " ".join(entry["overrides"])}
        told = {f"cost_{key}": value for key, value in entry["cost"].items()}
        table += [shared | {"seed": seed} | scores | told for seed, scores in entry["seeds"].items()]
        table += [shared | {"seed": f["seed"], "failed": first_line(f["why"])} for f in entry["failed"]]
    return table


def _explained(found: Mapping[str, Any]) -> str:
    seeds = found["seeds"]
    if len(seeds) > 1:
        return (
            f"Means over seeds {', '.join(map(str, seeds))} with 95 % intervals by Student's t, for what another seed "
            "would give. Differences are paired by seed with the first row."
        )
    return (
        f"Seed {seeds[0]} alone, with 95 % intervals by bootstrap over test images: they do not tell what another "
        "seed would give. Differences are paired by image with the first row."
    )


def _overrides(entry: Mapping[str, Any]) -> str:
    return f"`{shlex.join(entry['overrides'])}`" if entry["overrides"] else "as it is"


def _seeds_left(entry: Mapping[str, Any]) -> str:
    """Which seeds a row is of, where others failed."""
    return f" (seed {' and '.join(entry['seeds'])} alone)" if entry["failed"] else ""


def _line(name: str, entry: Mapping[str, Any]) -> list[str]:
    if "epe" not in entry:
        return [name, "failed", *["-"] * (len(SHOWN) + 5)]
    cost, means = entry["cost"], entry["means"]
    difference = entry.get("difference")
    told = with_ends(Interval.of(difference), signed=True) if difference else "-"
    sure = "**" if difference and difference["excludes_zero"] else ""
    parameters = cost.get("parameters")
    return [
        name + _seeds_left(entry),
        with_ends(Interval.of(entry["epe"])),
        f"{sure}{told}{sure}",
        *(number(means.get(key), digits) for key, digits in SHOWN.items()),
        number(means.get("minutes"), 1),
        *(number(cost.get(key)) for key in ("step", "inference")),
        "-" if parameters is None else f"{parameters / 1e6:.2f} M",
    ]
