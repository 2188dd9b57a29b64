"""Boxes for predictions: of labels, or of a detector, whose files name no keypoint."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np

from softpoint.labels.boxes import boxes_by_image
from softpoint.labels.detections import detections
from softpoint.labels.formats import read_labels
from softpoint.labels.formats.coco import DEFAULT_CATEGORY
from softpoint.labels.missing import Missing
from softpoint.labels.row_errors import RowErrors
from softpoint.paths import normalize_path

_log = logging.getLogger(__name__)


def read_boxes(
    path: Path,
    keypoints: Sequence[str],
    categories: Collection[str] = (),
    missing: Missing = "auto",
    source: str | None = None,
    images: Path | None = None,
    image_file: Path | None = None,
) -> dict[str, np.ndarray]:
    """Return the boxes (N, 4) of each image, by its path.

    Labels give those of `subject_boxes`. A detector's files are those of `detections`, whose numbers of images are ids
    in `image_file`, COCO's JSON, and whose images are in the folder `images`. Boxes of other categories than
    `categories` are left out where the file has categories. Crowds are left out; of these and of all else that is not
    used one warning tells the count.
    Raises ValueError for an invalid file, where none of its categories is among `categories`, and where no image has a
    box.
    """
    errors, unused = RowErrors(str(path)), Counter[str]()
    if (found := detections(path, keypoints, images, image_file, errors, unused)) is None:
        labels = read_labels(path, images=images, missing=missing).with_any_of(keypoints)
        chosen = _chosen(path, labels.categories, categories)
        return boxes_by_image(labels.with_categories(sorted(chosen)) if chosen else labels, source)
    errors.raise_or_warn()
    kinds = _chosen(path, [kind for _, kind, _ in found], categories)
    unused["boxes of other categories"] += sum(kind not in kinds for _, kind, _ in found) if kinds else 0
    unused["categories: it states none, so that every box counts"] += bool(categories and not kinds)
    if texts := [f"{count} {content}" for content, count in unused.items() if count]:
        _log.warning("%s: not used: %s", path, ", ".join(texts))
    by_image: dict[str, list[tuple[float, float, float, float]]] = {}
    for image, kind, box in found:
        if not kinds or kind in kinds:
            by_image.setdefault(normalize_path(image), []).append(box)
    if not by_image:
        raise ValueError(f"{path} has no box of an image; check that the file is complete")
    return {image: np.array(rows) for image, rows in by_image.items()}


def _chosen(path: Path, found: Iterable[str], categories: Collection[str]) -> set[str]:
    """Return those of a file's categories that are wanted, none where all of its boxes are.

    Raises ValueError for a file that has other categories alone.
    """
    stated = {*found} - {"", DEFAULT_CATEGORY}
    chosen = {*found} & {*categories}
    if categories and stated and not chosen:
        raise ValueError(
            f"{path} has boxes of {', '.join(sorted(stated)[:5])}, but the model was trained on"
            f" {', '.join(sorted(categories)[:5])}; name its categories as the labels of the training do"
        )
    return chosen
