"""An audit report on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from softpoint.audit.report import Finding, Report
from softpoint.tables import NumberTable

_COLORS = {"error": "bold red", "warning": "yellow", "info": "dim"}
_MAX_EXAMPLES, _MAX_SIZES = 3, 4


def print_report(report: Report, console: Console | None = None) -> None:
    """Print the counts, a table of the keypoints, and every finding with its first examples."""
    console = console or Console()
    sizes = [f"{count} of {size}" for size, count in list(report.sizes.items())[:_MAX_SIZES]]
    sizes += ["..."] * (len(report.sizes) > _MAX_SIZES)
    splits = ", ".join(f"{count} {split}" for split, count in report.splits.items())
    summary = (
        f"{report.source}: {report.subjects} subjects in {report.images} images ({', '.join(sizes)}),"
        f" {report.unlabeled} of them without labels" + (f"; {splits}" if splits else "")
    )
    console.print(summary, markup=False, highlight=False, soft_wrap=True)
    table = NumberTable("keypoint", ["labeled", "occluded", "missing", "out of frame"])
    for counts in report.keypoints:
        table.add_row(counts.name, *map(str, counts[1:]))
    console.print(table)
    for finding in report.findings:
        _print_finding(finding, console)
    if not report.findings:
        console.print("no findings")


def _print_finding(finding: Finding, console: Console) -> None:
    console.print(Text.assemble((finding.severity, _COLORS[finding.severity]), " ", finding.message))
    for example in finding.examples[:_MAX_EXAMPLES]:
        place = ", ".join(filter(None, (example.place, example.image)))
        console.print(Padding(Text(": ".join(filter(None, (place, example.value)))), (0, 0, 0, 4)))
    console.print(Padding(Text(f"-> {finding.advice}"), (0, 0, 0, 4)))
