"""Validation of labels against the images that they are about."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.images import ImageFolder
from softpoint.labels.row_errors import RowErrors, first_few
from softpoint.labels.schema import Labels, Subject
from softpoint.paths import normalize_path

# Pixels by which a point may be beyond the centers of the border pixels: labeling tools let people click on the
# border itself, x = width.
BORDER = 1.0

_log = logging.getLogger(__name__)


def validate(
    labels: Labels, image_folder: ImageFolder, errors: RowErrors, out_of_frame: str = "error"
) -> tuple[Labels, np.ndarray]:
    """Return labels that fit their images, and the height and width (N, 2) of each subject's image.

    A labeled point outside its image is an error, or becomes unlabeled where `out_of_frame` is "drop".
    Images without any labeled point are kept. Raises ValueError for images that are missing or cannot
    be read, have another size than the file states, or are labeled twice alike, unless `errors` skips
    them; and where nothing is labeled at all.
    """
    labels = _without_repeats(labels, errors)
    labels, sizes = _with_sizes(labels, image_folder, errors)
    labels, sizes = _inside(labels, sizes, errors, out_of_frame)
    if not (labels.visibility > 0).any():
        raise ValueError(
            f"{labels.source}: none of its {len(labels)} subjects has a labeled point; label some, or check"
            " that its coordinates are filled in"
        )
    return labels, sizes


def outside_points(labels: Labels, sizes: np.ndarray) -> np.ndarray:
    """Return a mask (N, K) of labeled points beyond their image; `sizes` (N, 2) is height and width."""
    limits = sizes[:, None, ::-1] - 1 + BORDER
    with np.errstate(invalid="ignore"):
        beyond = ((labels.keypoints < -BORDER) | (labels.keypoints > limits)).any(axis=2)
    return beyond & (labels.visibility > 0)


def _without_repeats(labels: Labels, errors: RowErrors) -> Labels:
    first: dict[tuple[Any, ...], str] = {}
    kept = []
    for index, subject in enumerate(labels.subjects):
        with errors.row(subject.place):
            # An image may be listed without labels more than once; the same subject may not.
            key = (normalize_path(subject.image), subject.keypoints.tobytes(), subject.box)
            if subject.visibility.any() and (earlier := first.setdefault(key, subject.place)) != subject.place:
                raise ValueError(f"labels {subject.image} exactly as {earlier} does")
            kept.append(index)
    errors.raise_or_warn("remove one of them")
    return labels.select(kept)


def _with_sizes(labels: Labels, image_folder: ImageFolder, errors: RowErrors) -> tuple[Labels, np.ndarray]:
    """Return the subjects whose images have a size, and the sizes; one header is read per image."""
    sizes: dict[str, tuple[int, int] | Exception] = {}
    missing: list[str] = []
    kept = []
    for index, subject in enumerate(labels.subjects):
        image = subject.image
        with errors.row(subject.place):
            if image not in sizes:
                try:
                    sizes[image] = image_folder.size(image)
                except (FileNotFoundError, ValueError) as error:
                    sizes[image] = error
            size = sizes[image]
            if isinstance(size, Exception):
                missing += [image] * isinstance(size, FileNotFoundError)
                raise size
            if any(subject.size) and subject.size != size:
                raise ValueError(
                    f"{image} is {size[1]} wide and {size[0]} high, but its labels say {subject.size[1]} and"
                    f" {subject.size[0]}: they were made on another version of it"
                )
            kept.append(index)
    errors.raise_or_warn(_folder_hint(missing[0], Path(labels.source), image_folder.folder) if missing else "")
    return labels.select(kept), np.array([sizes[labels.images[i]] for i in kept], dtype=np.int64).reshape(-1, 2)


def _folder_hint(missing: str, source: Path, folder: Path) -> str:
    """Return the way out for a missing image: a nearby folder under which it does exist, if there is one."""
    near = [folder.parent, folder.parent.parent, source, *list(source.parents)[:4]]
    for parent in (folder, source.parent, source.parent.parent):
        near += sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []
    for base in near:
        if (base / missing).is_file():
            return f"{missing} exists under {base}: set data.images={base}"
    return f"paths are taken relative to data.images={folder}: set it so that {folder / missing} exists"


def _inside(labels: Labels, sizes: np.ndarray, errors: RowErrors, out_of_frame: str) -> tuple[Labels, np.ndarray]:
    """Return the labels without points, or without subjects, that are outside their image."""
    beyond = outside_points(labels, sizes)
    if not beyond.any():
        return labels, sizes
    messages = [(row, _outside_message(labels, sizes, row, point)) for row, point in np.argwhere(beyond)]
    if out_of_frame == "drop":
        _log.warning(
            "%s: %d labeled points outside their image are treated as unlabeled%s",
            labels.source,
            len(messages),
            first_few([f"{labels.places[row]}: {message}" for row, message in messages]),
        )
        return replace(labels, subjects=tuple(map(_unlabel, labels.subjects, beyond))), sizes
    for row, message in messages:
        with errors.row(labels.places[row]):
            raise ValueError(message)
    errors.raise_or_warn("correct it, or set data.out_of_frame=drop to treat such points as unlabeled")
    kept = np.flatnonzero(~beyond.any(axis=1))
    return labels.select(kept), sizes[kept]


def _unlabel(subject: Subject, points: np.ndarray) -> Subject:
    return replace(
        subject,
        keypoints=np.where(points[:, None], np.nan, subject.keypoints),
        visibility=np.where(points, 0, subject.visibility),
    )


def _outside_message(labels: Labels, sizes: np.ndarray, row: int, point: int) -> str:
    (x, y), (height, width) = labels.keypoints[row, point], sizes[row]
    return (
        f"{labels.skeleton.names[point]} at ({x:g}, {y:g}) is outside its image {labels.images[row]},"
        f" which is {width} wide and {height} high"
    )
