"""An audit report on a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from softpoint.audit.fixes import Change
from softpoint.audit.report import Report
from softpoint.tables import NumberTable
from softpoint.tables import console as terminal

_COLORS = {"error": "bold red", "warning": "yellow", "info": "dim"}
_MAX_EXAMPLES, _MAX_SIZES, _MAX_CHANGES = 3, 4, 60


def print_changes(changes: Sequence[Change], console: Console | None = None) -> None:
    """Print a table of the first changes, and the number of all."""
    console = console or terminal()
    table = Table()
    for name in ("place", "image", "change", "keypoint", "detail"):
        table.add_column(name, overflow="fold")
    for change in changes[:_MAX_CHANGES]:
        table.add_row(*map(Text, change))
    if changes:
        console.print(table)
    counts = Counter(change.change for change in changes)
    more = f"; the table holds the first {_MAX_CHANGES}" if len(changes) > _MAX_CHANGES else ""
    text = ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "nothing to correct"
    console.print(f"{text}{more}", markup=False, highlight=False, soft_wrap=True)


def print_report(report: Report, console: Console | None = None) -> None:
    """Print the counts, a table of the keypoints, and every finding with its first examples.

    Examples are numbered as on the page of findings: 2.1 is the first one of the second finding.
    """
    console = console or terminal()
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
    console.print(report.mirroring, markup=False, highlight=False, soft_wrap=True)
    for number, finding in enumerate(report.findings, 1):
        head = f"{number} ", (finding.severity, _COLORS[finding.severity]), f" {finding.kind}: {finding.message}"
        console.print(Text.assemble(*head), soft_wrap=True)
        for i, example in enumerate(finding.examples[:_MAX_EXAMPLES], 1):
            place = ", ".join(filter(None, (example.place, example.image)))
            text = ": ".join(filter(None, (place, example.value)))
            console.print(Text(f"    {number}.{i} {text}"), soft_wrap=True)
        if finding.advice:
            console.print(Text(f"    -> {finding.advice}"), soft_wrap=True)
    if not report.findings:
        console.print("no findings")
