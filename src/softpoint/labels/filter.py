"""Which labeled subjects become samples: those whose images decode, one an image or one a crop."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from softpoint.images.scan import Scan
from softpoint.labels.boxes import subject_boxes
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels
from softpoint.paths import normalize_path

_log = logging.getLogger(__name__)


def decodable(
    labels: Labels, sizes: np.ndarray, scans: Sequence[Scan], problems: RowErrors
) -> tuple[Labels, np.ndarray]:
    """The subjects whose images decode to their last pixel, and the sizes of those."""
    errors = {scan.image: scan.error for scan in scans if scan.error is not None}
    kept = []
    for row, subject in enumerate(labels.subjects):
        with problems.row(subject.place):
            if subject.image in errors:
                raise ValueError(errors[subject.image])
            kept.append(row)
    problems.raise_or_warn("")
    return labels.select(kept), sizes[kept]


def one_a_sample(
    labels: Labels, sizes: np.ndarray, mode: str, source: str | None, problems: RowErrors
) -> tuple[Labels, np.ndarray, np.ndarray | None]:
    """Labels, image sizes and boxes of what becomes a sample: each image, or each subject that has a box."""
    single = np.array([not subject.crowd for subject in labels.subjects])
    if mode == "image":
        labels, sizes = labels.select(np.flatnonzero(single)), sizes[single]
        first = one_per_image(labels, problems)
        return labels.select(first), sizes[first], None
    boxes = subject_boxes(labels, source)
    kept = np.flatnonzero(single & np.isfinite(boxes).all(1))
    if left := len(labels) - len(kept):
        _log.info("%s: %d crowds and images without a subject give no crop", labels.source, left)
    return labels.select(kept), sizes[kept], boxes[kept]


def one_per_image(labels: Labels, problems: RowErrors) -> list[int]:
    """The subjects that are the first in their images; any other is a problem."""
    first: dict[str, str] = {}
    kept = []
    for index, subject in enumerate(labels.subjects):
        with problems.row(subject.place):
            if (earlier := first.setdefault(normalize_path(subject.image), subject.place)) != subject.place:
                raise ValueError(f"labels {subject.image}, which {earlier} labels too")
            kept.append(index)
    problems.raise_or_warn("with several subjects in an image set data.mode=instance, which crops each")
    return kept
