"""Images of the same parts, whose names an expression finds in paths, and what their predictions measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from softpoint.evaluation.gauge import crossed, gauge_study, gauge_tables
from softpoint.evaluation.repeatability import repeatability, repeatability_tables
from softpoint.evaluation.results import Results
from softpoint.labels.groups import group_names
from softpoint.tables import NumberTable


def repeat_names(images: Sequence[str], expression: str) -> dict[str, list[str]]:
    """Return the `parts` of images, and their `operators` where the expression of repeat= names any.

    Raises ValueError for a path in which it finds nothing, and for operators that do not measure all parts alike.
    """
    if "(?P<operator>" not in expression:
        return {"parts": group_names(images, expression, "repeat")}
    if "(?P<part>" not in expression:
        raise ValueError(f"repeat={expression!r} names operators and no parts; name these by (?P<part>...)")
    parts, operators = (group_names(images, expression, "repeat", name) for name in ("part", "operator"))
    crossed(parts, operators)
    return {"parts": parts, "operators": operators}


def measure_repeats(results: Results, expression: str) -> dict[str, Any]:
    """Return the repeatability of the predictions, or the gauge study of an expression that also names operators."""
    names = repeat_names(results.images, expression)
    if "operators" in names:
        return {"gauge": gauge_study(results, **names)}
    return {"repeatability": repeatability(results, **names)}


def repeats_tables(metrics: Mapping[str, Any]) -> list[NumberTable]:
    """Return what `measure_repeats` added to metrics.json as tables for a terminal; none where it did not."""
    return [*repeatability_tables(metrics.get("repeatability")), *gauge_tables(metrics.get("gauge"))]
