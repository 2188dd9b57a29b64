"""Looks for what is wrong with labeled images before a network learns it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from softpoint.audit.coordinate_conventions import look_at_readings
from softpoint.audit.images import look_at_images, unlabeled_images
from softpoint.audit.points import count_keypoints, look_at_points
from softpoint.audit.pose import look_at_poses
from softpoint.audit.report import SEVERITIES, Example, Finding, KeypointCounts, Report
from softpoint.images import ImageFolder
from softpoint.images.scan import Scan
from softpoint.labels.schema import Labels
from softpoint.paths import normalize_path

__all__ = ["Example", "Finding", "KeypointCounts", "Report", "diagnose", "unlabeled_images"]


def diagnose(
    labels: Labels,
    image_folder: ImageFolder,
    scans: Sequence[Scan],
    splits: Mapping[str, Sequence[int]] | None = None,
    on_error: str = "error",
    outside: str = "error",
    others: Sequence[Scan] = (),
) -> Report:
    """All findings about labels and their images.

    Args:
        scans: one for each subject's image, see `softpoint.images.scan`.
        splits: the subjects of each split, train first; None where that is not known.
        on_error, outside: as training will have them; what it then leaves out is a warning, not an error.
        others: scans of images without labels, see `unlabeled_images`.
    """
    assert len(scans) == len(labels)
    splits = splits or {}
    severity = "error" if on_error == "error" else "warning"
    sizes = np.array([scan.size for scan in scans], dtype=np.int64).reshape(-1, 2)
    beyond = severity if outside == "error" else "warning"
    readable = [i for i, scan in enumerate(scans) if scan.error is None]
    findings = [
        *look_at_images(labels, image_folder, scans, others, splits, severity),
        *look_at_points(labels, sizes, severity, beyond),
        *look_at_readings(labels, image_folder, readable),
        *look_at_poses(labels),
    ]
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    by_image = {normalize_path(scan.image): scan.size for scan in scans}
    known = {normalize_path(subject.image) for subject in labels.subjects if (subject.visibility > 0).any()}
    return Report(
        source=labels.source,
        subjects=len(labels),
        images=len(by_image),
        unlabeled=len(by_image) - len(known),
        sizes=_most_frequent(by_image),
        keypoints=count_keypoints(labels, sizes),
        splits={name: len(rows) for name, rows in splits.items()},
        findings=findings,
    )


def _most_frequent(sizes: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    counts = Counter(f"{width}x{height}" if height else "unknown" for height, width in sizes.values())
    return dict(counts.most_common())
