"""Corrected labels differ from their file by what is listed, and by nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from helpers.changes import ROWS, applied
from helpers.labels import assert_same, written
from softpoint.audit.fixes import fixed_labels
from softpoint.audit.points import point_findings
from softpoint.audit.pose import pose_findings
from softpoint.audit.report import Example, Finding
from softpoint.labels.formats import read_labels


def test_all_changes_are_listed(tmp_path: Path) -> None:
    path = written(tmp_path, ROWS)
    raw, labels = read_labels(path, missing="none"), read_labels(path)
    assert [s.place for s in labels.subjects if s.place == "line 6"] == []  # whose points are all marks
    rows = {subject.place: i for i, subject in enumerate(labels.subjects)}
    swap = Example("v/b.png", "line 4", "", rows["line 4"], (0, 1))
    copy = Example("v/d.png", "line 8", "equals v/a.png", rows["line 8"])
    findings = [
        *point_findings(labels, np.full((len(labels), 2), 20), "error", "error"),
        Finding("left_right_swap", "warning", "", [swap], "", 1),
        Finding("duplicate", "warning", "", [copy], "", 1),
    ]
    fixed, changes = fixed_labels(raw, labels, findings)
    assert [(c.place, c.change, c.keypoint, c.detail) for c in changes] == [
        ("line 3", "blanked", "nose", "(-1, -1)"),
        ("line 4", "swapped", "l_ear", "r_ear"),
        ("line 5", "dropped", "", "labeled exactly as in line 4"),
        ("line 6", "dropped", "", "no point is left of it"),
        ("line 8", "dropped", "", "its image equals v/a.png"),
        ("line 9", "blanked", "nose", "(0, 0)"),
    ]
    assert_same(fixed, replace(applied(raw, changes), unused=fixed.unused))
    assert_same(fixed_labels(labels, labels, findings, "auto", [])[0], labels)
    only, listed = fixed_labels(raw, raw, [], "none")
    assert listed == []
    assert_same(only, raw)


def test_planted_errors_in_real_labels_are_corrected(data_root: Path, tmp_path: Path) -> None:
    """Swaps of wide pairs, a mark and a repeat in real labels: what is corrected is the real set again."""
    real = read_labels(data_root / "keypoints" / "labels" / "dlc-openfield.csv")
    points, states = real.keypoints.copy(), real.visibility.copy()
    for row in (9, 37, 74):
        points[row, [1, 2]] = points[row, [2, 1]]
    points[50, 0] = 0
    planted = tuple(
        replace(s, keypoints=p, visibility=v) for s, p, v in zip(real.subjects, points, states, strict=True)
    )
    planted = (*planted, replace(real.subjects[20], place="line 999"))
    labels = replace(real, subjects=planted)
    findings = [*pose_findings(labels), *point_findings(labels, np.full((len(labels), 2), 1000), "error", "error")]
    fixed, changes = fixed_labels(labels, labels, findings)
    expected = {("line 13", "swapped"), ("line 41", "swapped"), ("line 78", "swapped")}
    assert expected | {("line 54", "blanked"), ("line 999", "dropped")} <= {(c.place, c.change) for c in changes}
    assert len(changes) <= 7 and len(fixed) == len(real)
    np.testing.assert_array_equal(fixed.keypoints[[9, 37, 74]], real.keypoints[[9, 37, 74]])
