"""The samples of labels: images with one subject each, or subjects and the boxes that their crops show."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from softpoint.labels.box_files import read_boxes
from softpoint.labels.boxes import BOX_SOURCES, matched_boxes, subject_boxes
from softpoint.labels.label_sets import as_paths
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels
from softpoint.labels.source import LabelSource

_log = logging.getLogger(__name__)


def choose_samples(
    labels: Labels, sizes: np.ndarray, source: LabelSource, errors: RowErrors
) -> tuple[Labels, np.ndarray, np.ndarray | None]:
    """Return labels, image sizes and boxes of the samples: images with one subject, or subjects that have a box."""
    single = ~labels.crowds
    if source.mode == "multi":
        _check_one_kind(labels)
        return labels, sizes, np.where(single[:, None], _crop_boxes(labels, source), np.nan)
    if source.mode == "instance":
        boxes = _crop_boxes(labels, source)
        rows = np.flatnonzero(single & np.isfinite(boxes).all(1))
        if left := len(labels) - len(rows):
            _log.info("%s: %d crowds and images without a subject give no crop", labels.source, left)
        return labels.select(rows), sizes[rows], boxes[rows]
    first: dict[str, str] = {}
    kept = []
    for row in np.flatnonzero(single).tolist():
        place, image = labels.places[row], labels.images[row]
        with errors.row(place, image):
            if (earlier := first.setdefault(labels.paths[row], place)) != place:
                raise ValueError(f"labels {image}, which {earlier} labels too")
            kept.append(row)
    errors.raise_or_warn(
        "with several subjects in an image set data.mode=multi, which also learns to find them, or data.mode=instance,"
        " which crops each box that you give"
    )
    return labels.select(kept), sizes[kept], None


def _crop_boxes(labels: Labels, source: LabelSource) -> np.ndarray:
    """Return the box (N, 4) of each subject: of the labels, or the one that a detector's file has of it."""
    if source.boxes in BOX_SOURCES:
        return subject_boxes(labels, source.boxes)
    file, sets = Path(str(source.boxes)), as_paths(source.labels)
    if not file.exists():
        raise FileNotFoundError(f"data.boxes={file} does not exist; give labels, keypoints, or a detector's file")
    image_file = sets[0] if len(sets) == 1 and sets[0].is_file() else None
    kinds = source.categories or ()
    found = read_boxes(file, labels.skeleton.names, kinds, source.missing, None, Path(labels.folder), image_file)
    own, boxes = subject_boxes(labels), matched_boxes(labels, found)
    matched = np.isfinite(boxes).all(1)
    if not matched.any():
        raise ValueError(
            f"data.boxes={file}: no box is about a labeled subject, first of {min(found)}; paths in it start from"
            f" {labels.folder}"
        )
    subjects = np.isfinite(own).all(1) & ~labels.crowds
    _log.warning(
        "%s: %d of %d subjects have no box in %s and keep that of the labels; %d of its %d boxes are of no subject",
        *(labels.source, (subjects & ~matched).sum(), subjects.sum(), file),
        *(sum(map(len, found.values())) - matched.sum(), sum(map(len, found.values()))),
    )
    return np.where(matched[:, None], boxes, own)


def _check_one_kind(labels: Labels) -> None:
    """Raise ValueError for categories of other keypoints, whose subjects would all be found as one kind."""
    kinds = {name: parts for name, parts in labels.categories.items() if parts}
    if len({frozenset(parts) for parts in kinds.values()}) > 1:
        (first, parts), (other, others) = list(kinds.items())[:2]
        raise ValueError(
            f"{labels.source} has categories of other keypoints, {first} ({', '.join(parts[:3])}) and {other}"
            f" ({', '.join(others[:3])}), and data.mode=multi finds subjects of one kind: train a model for each, by"
            f" data.categories=[{first}]"
        )
