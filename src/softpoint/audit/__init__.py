"""Audit of labels and their images before training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from softpoint.audit.coordinate_conventions import convention_findings
from softpoint.audit.images import image_findings, name_group_findings, unlabeled_images
from softpoint.audit.mirror import pair_findings
from softpoint.audit.points import count_keypoints, point_findings
from softpoint.audit.pose import pose_findings
from softpoint.audit.report import SEVERITIES, Example, Finding, KeypointCounts, Report, finding_of
from softpoint.audit.subjects import subject_findings
from softpoint.images.scan import Scan
from softpoint.labels.load import LoadedLabels
from softpoint.labels.split import Split
from softpoint.paths import normalize_path

__all__ = ["Example", "Finding", "KeypointCounts", "Report", "audit_labels", "unlabeled_images"]


def audit_labels(
    loaded: LoadedLabels,
    splits: Mapping[str, Sequence[int]] | None = None,
    on_error: str = "error",
    out_of_frame: str = "error",
    others: Sequence[Scan] = (),
    split: Split | None = None,
) -> Report:
    """Return all findings about labels and their images, the most severe first.

    Args:
        loaded: labels as `load_labels` returns them for an audit.
        splits: the subjects of each split, train first; None if there is no split.
        on_error, out_of_frame: the settings of the training. What training would leave out is a warning, not an error.
        others: scans of images without labels; see `unlabeled_images`.
        split: the rules of the split; without a group, groups that file names show are compared with it.
    """
    labels, sizes, image_folder = loaded.labels, loaded.sizes, loaded.image_folder
    scans = [loaded.scans[image] for image in labels.images]
    splits = splits or {}
    severity = "error" if on_error == "error" else "warning"
    rows = [Example(row.image, row.place, row.reason) for row in loaded.errors.skipped]
    readable = [i for i, scan in enumerate(scans) if scan.error is None]
    findings = [
        *finding_of(
            "unreadable_row",
            severity,
            "rows or points that cannot be read",
            rows,
            "correct them, write the rest to a new file by fix=NEW.csv, or leave them out by data.on_error=skip",
        ),
        *image_findings(labels, image_folder, scans, others, splits, severity),
        *name_group_findings(labels, splits, split or Split()),
        *point_findings(labels, sizes, severity, severity if out_of_frame == "error" else "warning"),
        *subject_findings(labels),
        *convention_findings(labels, image_folder, readable),
        *pose_findings(labels),
        *pair_findings(labels),
    ]
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    size_of = {normalize_path(scan.image): scan.size for scan in scans}
    labeled = {labels.paths[i] for i in np.flatnonzero((labels.visibility > 0).any(1))}
    counts = Counter(f"{width}x{height}" if height else "unknown" for height, width in size_of.values())
    return Report(
        source=labels.source,
        subjects=labels.count,
        images=len(size_of),
        unlabeled=len(size_of) - len(labeled),
        sizes=dict(counts.most_common()),
        keypoints=count_keypoints(labels, sizes),
        mirroring=labels.skeleton.mirroring,
        splits={name: len(rows) for name, rows in splits.items()},
        findings=findings,
    )
