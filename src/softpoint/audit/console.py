"""The doctor's report on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from softpoint.audit.report import Finding, Report

_COLORS = {"error": "bold red", "warning": "yellow", "info": "dim"}
_SHOWN = 3  # examples of a finding
_SIZES = 4  # sizes of images


def print_report(report: Report, console: Console | None = None) -> None:
    """What there is, how often each keypoint is labeled, and every finding with its first examples."""
    console = console or Console()
    console.print(_summary(report), markup=False, highlight=False)
    console.print(_keypoints(report))
    for finding in report.findings:
        _print_finding(finding, console)
    if not report.findings:
        console.print("nothing suspicious found")


def _summary(report: Report) -> str:
    sizes = [f"{n} of {size}" for size, n in list(report.sizes.items())[:_SIZES]]
    sizes += ["..."] * (len(report.sizes) > _SIZES)
    splits = ", ".join(f"{n} {split}" for split, n in report.splits.items())
    return (
        f"{report.source}: {report.subjects} subjects in {report.images} images ({', '.join(sizes)}),"
        f" {report.unlabeled} of them without labels" + (f"; {splits}" if splits else "")
    )


def _keypoints(report: Report) -> Table:
    table = Table("keypoint")
    for name in ("labeled", "occluded", "missing", "outside"):
        table.add_column(name, justify="right")
    for counts in report.keypoints:
        table.add_row(Text(counts.name), *map(str, counts[1:]))
    return table


def _print_finding(finding: Finding, console: Console) -> None:
    console.print(Text.assemble((finding.severity, _COLORS[finding.severity]), " ", finding.message))
    for example in finding.examples[:_SHOWN]:
        said = ": ".join(
            part for part in (", ".join(filter(None, (example.place, example.image))), example.value) if part
        )
        console.print(Padding(Text(said), (0, 0, 0, 4)))
    console.print(Padding(Text(f"-> {finding.way_out}"), (0, 0, 0, 4)))
