"""Labels of one format written as another."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from softpoint.images import ImageFolder
from softpoint.labels.formats import WRITERS
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels
from softpoint.labels.split_file import SPLITS, write_splits
from softpoint.suggest import did_you_mean

# Formats that state how large each image is.
_STATES_SIZES = ("coco",)


def write_labels(labels: Labels, to: str, output: Path, image_folder: ImageFolder, problems: RowErrors) -> Labels:
    """Writes labels in the format `to` and returns what was written; its warning says what the format cannot hold.

    Images are opened only where the format states their sizes and the labels do not. Raises ValueError for an
    unknown format, and for images that are missing unless `problems` skips them.
    """
    if to not in WRITERS:
        raise ValueError(f"to={to!r}: {did_you_mean(to, WRITERS)}")
    labels, sizes = _sizes(labels, image_folder, problems) if to in _STATES_SIZES else (labels, _stated(labels))
    if not len(labels):
        raise ValueError(f"{labels.source}: no subject is left to write")
    WRITERS[to](labels, output, sizes)
    return labels


def write_stated_splits(labels: Labels, output: Path) -> Path | None:
    """Writes the split that labels state beside `output`, for data.splits; its path, or None where they state none."""
    if not all(image in labels.splits for image in labels.images):
        return None
    path = output.with_name(f"{output.stem}.splits.csv")
    rows = {name: [i for i, image in enumerate(labels.images) if labels.splits[image] == name] for name in SPLITS}
    write_splits(path, labels.images, rows)
    return path


def _stated(labels: Labels) -> np.ndarray:
    return np.array([subject.size for subject in labels.subjects], dtype=np.int64).reshape(-1, 2)


def _sizes(labels: Labels, image_folder: ImageFolder, problems: RowErrors) -> tuple[Labels, np.ndarray]:
    """The subjects whose images have a size, and the sizes: the stated one, or what the image's header says."""
    sizes: dict[str, tuple[int, int]] = {}
    kept = []
    for index, subject in enumerate(labels.subjects):
        with problems.row(subject.place):
            if subject.image not in sizes:
                sizes[subject.image] = subject.size if all(subject.size) else image_folder.size(subject.image)
            kept.append(index)
    problems.raise_or_warn(f"name the folder that the paths start from by images (now {image_folder.folder})")
    return labels.select(kept), np.array([sizes[labels.images[i]] for i in kept], dtype=np.int64).reshape(-1, 2)


def summary(labels: Labels) -> str:
    """What labels hold, in one phrase.

    >>> from softpoint.labels.skeleton import Skeleton
    >>> summary(Labels("a.csv", ".", Skeleton(("nose",)), ()))
    '0 subjects in 0 images, 1 keypoints, 0 labeled points'
    """
    points, hidden = int((labels.visibility > 0).sum()), int((labels.visibility == 1).sum())
    return (
        f"{len(labels)} subjects in {len(set(labels.images))} images, {len(labels.skeleton)} keypoints,"
        f" {points} labeled points" + (f" ({hidden} hidden)" if hidden else "")
    )
