"""Looks for what is wrong with labelled pictures before a network learns it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from softpoint.data.doctor.pictures import look_at_pictures, unlabelled_pictures
from softpoint.data.doctor.points import count_keypoints, look_at_points
from softpoint.data.doctor.pose import look_at_poses
from softpoint.data.doctor.readings import look_at_readings
from softpoint.data.doctor.report import SEVERITIES, Example, Finding, KeypointCounts, Report
from softpoint.data.labels import Labels, same_path
from softpoint.data.pictures import Pictures
from softpoint.data.pictures.scan import Scan

__all__ = ["Example", "Finding", "KeypointCounts", "Report", "diagnose", "unlabelled_pictures"]


def diagnose(
    labels: Labels,
    pictures: Pictures,
    scans: Sequence[Scan],
    splits: Mapping[str, Sequence[int]] | None = None,
    on_error: str = "error",
    outside: str = "error",
    others: Sequence[Scan] = (),
) -> Report:
    """All findings about labels and their pictures.

    Args:
        scans: one for each subject's picture, see `softpoint.data.pictures.scan`.
        splits: the subjects of each split, train first; None where that is not known.
        on_error, outside: as training will have them; what it then leaves out is a warning, not an error.
        others: scans of pictures without labels, see `unlabelled_pictures`.
    """
    assert len(scans) == len(labels)
    splits = splits or {}
    severity = "error" if on_error == "error" else "warning"
    sizes = np.array([scan.size for scan in scans], dtype=np.int64).reshape(-1, 2)
    beyond = severity if outside == "error" else "warning"
    readable = [i for i, scan in enumerate(scans) if scan.error is None]
    findings = [
        *look_at_pictures(labels, pictures, scans, others, splits, severity),
        *look_at_points(labels, sizes, severity, beyond),
        *look_at_readings(labels, pictures, readable),
        *look_at_poses(labels),
    ]
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    by_picture = {same_path(scan.image): scan.size for scan in scans}
    known = {same_path(subject.image) for subject in labels.subjects if (subject.visibility > 0).any()}
    return Report(
        source=labels.source,
        subjects=len(labels),
        pictures=len(by_picture),
        unlabelled=len(by_picture) - len(known),
        sizes=_most_frequent(by_picture),
        keypoints=count_keypoints(labels, sizes),
        splits={name: len(rows) for name, rows in splits.items()},
        findings=findings,
    )


def _most_frequent(sizes: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    counts = Counter(f"{width}x{height}" if height else "unknown" for height, width in sizes.values())
    return dict(counts.most_common())
