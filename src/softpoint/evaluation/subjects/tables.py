"""Tables of what metrics.json has under "finding", which the console prints and the report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from softpoint.evaluation.subjects.measures import MEASURES
from softpoint.evaluation.tables import Cell, Number, Table

_ERRORS = ("epe", "median", "p95")


def finding_table(finding: Mapping[str, Any]) -> Table:
    """Return the numbers of all images, of subjects that are matched by OKS and by distance."""
    by_oks = finding["average_precision"] | finding["oks"]["overall"]
    if "ece" in finding["score"]:
        by_oks |= {"score_ece": finding["score"]["ece"]}
    by_distance = finding["distance"]["overall"]
    rows = [
        (heading(name), [*_with_ends(name, by_oks.get(name)), *_with_ends(name, by_distance.get(name))])
        for name in MEASURES
        if name in by_oks or name in by_distance
    ]
    title = (
        f"{finding['found']} subjects found with a score of {finding['threshold']:g} or more, {finding['subjects']}"
        f" labeled, in {finding['images']} images"
    )
    ways = [f"OKS at least {finding['oks_level']:g}", f"within {100 * finding['distance_limit']:g} % of the diagonal"]
    return Table(title, "", [ways[0], "95 % interval", ways[1], "95 % interval"], rows)


def crowding_table(finding: Mapping[str, Any]) -> Table:
    """Return how many isolated and crowded subjects are found, and their errors, matched by OKS."""
    names = ["recall", "doubled", *_ERRORS]
    headings = ["subjects", "recall", "95 % interval", "doubled", *map(heading, _ERRORS)]
    rows = []
    for part in ("isolated", "crowded"):
        entry = finding["oks"][part]
        recall, *rest = (_with_ends(name, entry.get(name)) for name in names)
        rows.append((part, [_count(entry["subjects"]), *recall, *(cells[0] for cells in rest)]))
    title = f"crowded: a box overlaps another by more than {finding['overlap']:g} (IoU)"
    return Table(title, "part", headings, rows)


def found_keypoints_table(finding: Mapping[str, Any]) -> Table:
    """Return the errors of each keypoint of the subjects that are found, matched by OKS."""
    rows = [
        (name, [_count(entry["points"]), *(_with_ends(error, entry.get(error))[0] for error in _ERRORS)])
        for name, entry in finding["oks"]["keypoints"].items()
    ]
    return Table("keypoints of found subjects", "keypoint", ["points", *map(heading, _ERRORS)], rows)


def thresholds_table(finding: Mapping[str, Any]) -> Table:
    """Return precision, recall and false finds an image for thresholds of the score, matched by OKS."""
    rows = [(f"{row['threshold']:.2f}", row) for row in finding["oks"]["curve"]]
    return _rates_table("subjects count as found from a score on", "score", rows)


def distances_table(finding: Mapping[str, Any]) -> Table:
    """Return precision, recall and false finds an image where subjects match within a distance."""
    rows = [(f"{100 * row['within']:g} %", row) for row in finding["distances"]]
    return _rates_table("subjects match within a mean distance, of the image's diagonal", "distance", rows)


def _rates_table(title: str, names: str, rows: Sequence[tuple[str, Mapping[str, float]]]) -> Table:
    measures = ["precision", "recall", "false_per_image"]
    cells = [(text, [(_number(n, row[n]),) if n in row else () for n in measures]) for text, row in rows]
    return Table(title, names, measures, cells)


def heading(name: str) -> str:
    """Return a measure's name and unit.

    >>> heading("epe"), heading("recall")
    ('epe (px)', 'recall')
    """
    unit = MEASURES[name].unit
    return f"{name} ({unit})" if unit else name


def _with_ends(name: str, entry: Mapping[str, float] | None) -> list[Cell]:
    """A number, and the ends of its interval, where there are any."""
    if entry is None:
        return [(), ()]
    ends = [_number(name, entry[end]) for end in ("low", "high") if end in entry]
    return [(_number(name, entry["value"]),), ends]


def _number(name: str, value: float) -> Number:
    return Number(MEASURES[name].text(value), value)


def _count(count: int) -> Cell:
    return (Number(str(count), count),)
