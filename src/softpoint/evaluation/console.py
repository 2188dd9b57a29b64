"""Evaluations and comparisons as tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group

from softpoint.evaluation.risk import describe_risk
from softpoint.evaluation.subjects.tables import crowding_table, finding_table, found_keypoints_table
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
from softpoint.inference.regions import ELLIPSES, SETS
from softpoint.metrics.calibration import FRACTION
from softpoint.tables import NumberTable

_MAX_GROUPS = 30


def metrics_tables(metrics: Mapping[str, Any]) -> Group:
    """Return tables of metrics.json: the overall metrics with their intervals, then those of parts of the points."""
    tables = [overall_table(metrics), parts_table("keypoint", metrics["keypoints"])]
    if 1 < len(metrics["groups"]) <= _MAX_GROUPS:
        tables.append(parts_table("group", metrics["groups"]))
    fraction = metrics.get("confidence_fraction", FRACTION)
    quarters = quarters_table(metrics, fraction) if metrics["confidence_quarters"] else None
    regions = [regions_table(metrics, kind) for kind in (ELLIPSES, SETS)]
    tables += [table for table in (states_table(metrics), quarters, *regions) if table is not None]
    risk = [describe_risk(metrics["risk"])] if "risk" in metrics else []
    return Group(*map(_printed, tables), *risk, *metrics["notes"], *skipped_lines(metrics))


def finding_tables(finding: Mapping[str, Any]) -> Group:
    """Return tables of what metrics.json has under "finding": all images, crowded and isolated subjects, keypoints."""
    tables = (finding_table(finding), crowding_table(finding), found_keypoints_table(finding))
    return Group(*map(_printed, tables), *finding["notes"], *skipped_lines(finding))


def comparison_tables(comparison: Mapping[str, Any], other: str = "B") -> Group:
    """Return tables of comparison.json: the metrics of both models, A and `other`, and EPE of parts of the points."""
    tables = [comparison_table(comparison, other), compared_parts_table("keypoint", comparison["keypoints"], other)]
    if 1 < len(comparison["groups"]) <= _MAX_GROUPS:
        tables.append(compared_parts_table("group", comparison["groups"], other))
    return Group(*map(_printed, tables), *comparison["notes"], *skipped_lines(comparison), verdict(comparison, other))


def _printed(table: Table) -> NumberTable:
    printed = NumberTable(table.names, table.headings, table.title or None)
    for name, cells in table.rows:
        printed.add_row(name, *(" to ".join(number.text for number in cell) or "-" for cell in cells))
    return printed
