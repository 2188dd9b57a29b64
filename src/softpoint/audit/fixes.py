"""Corrected labels: sides that are exchanged, marks of missing points, and subjects that are labeled twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from softpoint.audit.report import Example, Finding
from softpoint.labels.missing import Missing, without_marks
from softpoint.labels.schema import Labels, Subject

KINDS = ("swapped", "blanked", "dropped", "renamed")

Pair = tuple[int, int]


class Change(NamedTuple):
    """One difference between labels as they are in their file and the corrected ones."""

    place: str  # in the file; "" for all of it
    image: str
    change: str  # "swapped", "blanked", "dropped", "renamed" or "left out"
    keypoint: str = ""
    detail: str = ""  # the other keypoint of a swap, the name of a renamed image, the coordinates before, or a reason


def fixed_labels(
    raw: Labels,
    labels: Labels,
    findings: Sequence[Finding],
    missing: Missing = "auto",
    kinds: Collection[str] = KINDS,
) -> tuple[Labels, list[Change]]:
    """Return the corrected labels, and all differences from those in the file, in its order.

    Args:
        raw: the labels in the file, with the marks of missing points.
        labels: the same without these marks, as `load_labels` returns them for an audit.
        findings: about `labels`; of these the exchanged sides and the repeated subjects and images are corrected.
        missing: the marks; a single point at (0, 0) is one too here, unless it is "none".
        kinds: of corrections to make.
    """
    swaps: dict[int, list[Pair]] = {}
    if "swapped" in kinds:
        points = {row: example.keypoints for row, example in _examples(findings, "left_right_swap").items()}
        swaps = {row: list(zip(keypoints[::2], keypoints[1::2], strict=True)) for row, keypoints in points.items()}
    reasons = _repeats(labels, findings) if "dropped" in kinds else {}
    subjects = (_exchanged(s, swaps.get(i, [])) for i, s in enumerate(labels.subjects) if i not in reasons)
    fixed = replace(labels, subjects=tuple(subjects))
    if "blanked" in kinds and missing != "none":
        fixed = without_marks(fixed, [[0, 0]] if isinstance(missing, str) else [*missing, [0, 0]])
    names, rows = raw.skeleton.names, dict(zip(_keys(fixed), fixed.subjects, strict=True))
    index = {key: i for i, key in enumerate(_keys(labels))}
    changes: list[Change] = []
    for key, before in zip(_keys(raw), raw.subjects, strict=True):
        i = index.get(key, -1)
        after = rows.get(key)
        if after is None:
            changes.append(Change(before.place, before.image, "dropped", "", reasons.get(i, "no point is left of it")))
        else:
            changes += _differences(names, before, after, swaps.get(i, []))
    return fixed, changes


def _examples(findings: Sequence[Finding], kind: str) -> dict[int, Example]:
    """Return the examples of a kind of finding, by their subject."""
    found = (example for finding in findings if finding.kind == kind for example in finding.examples)
    return {example.subject: example for example in found if example.subject is not None}


def _repeats(labels: Labels, findings: Sequence[Finding]) -> dict[int, str]:
    """Return the subjects that repeat others, or whose image repeats another with its labels, and the reason."""
    repeated = {row: example.value for row, example in _examples(findings, "repeated_subject").items()}
    copies = {labels.paths[row]: f"its image {e.value}" for row, e in _examples(findings, "duplicate").items()}
    return repeated | {i: copies[path] for i, path in enumerate(labels.paths) if path in copies}


def _keys(labels: Labels) -> list[tuple[str, str, str, int]]:
    """Return what names each subject, whatever is left out: its place, and its number among those of one place."""
    counts: Counter[tuple[str, str, str]] = Counter()
    keys = []
    for subject in labels.subjects:
        name = (subject.place, subject.name, subject.category)
        keys.append((*name, counts[name]))
        counts[name] += 1
    return keys


def _exchanged(subject: Subject, pairs: Sequence[Pair]) -> Subject:
    if not pairs:
        return subject
    order = _order(len(subject.keypoints), pairs)
    written = None if subject.written is None else subject.written[order]
    return replace(subject, keypoints=subject.keypoints[order], visibility=subject.visibility[order], written=written)


def _order(count: int, pairs: Sequence[Pair]) -> np.ndarray:
    order = np.arange(count)
    for a, b in pairs:
        order[[a, b]] = order[[b, a]]
    return order


def _differences(names: Sequence[str], before: Subject, after: Subject, pairs: Sequence[Pair]) -> Iterator[Change]:
    """Yield the differences of one subject, of which these pairs were exchanged."""
    if after.image != before.image:
        yield Change(before.place, before.image, "renamed", "", after.image)
    for a, b in pairs:
        yield Change(before.place, before.image, "swapped", names[a], names[b])
    points = before.keypoints[_order(len(names), pairs)]
    gone = np.isfinite(points).all(axis=1) & ~np.isfinite(after.keypoints).all(axis=1)
    for k in np.flatnonzero(gone).tolist():
        x, y = points[k]
        yield Change(before.place, before.image, "blanked", names[k], f"({x:g}, {y:g})")
