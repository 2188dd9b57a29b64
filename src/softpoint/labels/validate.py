"""Whether labels agree with the images they are about."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from softpoint.images import ImageFolder
from softpoint.labels.row_errors import RowErrors, first_few
from softpoint.labels.schema import Labels, Subject
from softpoint.paths import normalize_path
from softpoint.suggest import did_you_mean

# How far beyond the centers of the border pixels a point may lie, in pixels: labeling tools let people
# click on the border itself, x = width.
BORDER = 1.0

_log = logging.getLogger(__name__)


def check(
    labels: Labels, image_folder: ImageFolder, problems: RowErrors, outside: str = "error"
) -> tuple[Labels, np.ndarray]:
    """The labels, proved to fit their images, and the (N, 2) height and width of each subject's image.

    A labeled point outside its image is a problem, or becomes unlabeled where `outside` is "drop".
    Images without any labeled point are kept. Raises ValueError for images that are missing or cannot
    be read, have another size than the file states, or are labeled twice alike, unless `problems` skips
    them; and where nothing is labeled at all.
    """
    if outside not in ("error", "drop"):
        raise ValueError(f"data.outside={outside!r}: {did_you_mean(outside, ('error', 'drop'))}")
    labels = _without_repeats(labels, problems)
    labels, sizes = _with_sizes(labels, image_folder, problems)
    labels, sizes = _inside(labels, sizes, problems, outside)
    if not (labels.visibility > 0).any():
        raise ValueError(
            f"{labels.source}: none of its {len(labels)} subjects has a labeled point; label some, or check"
            " that its coordinates are filled in"
        )
    return labels, sizes


def outside_points(labels: Labels, sizes: np.ndarray) -> np.ndarray:
    """Which labeled points (N, K) lie beyond their image; `sizes` (N, 2) is height and width."""
    limits = sizes[:, None, ::-1] - 1 + BORDER
    with np.errstate(invalid="ignore"):
        beyond = ((labels.keypoints < -BORDER) | (labels.keypoints > limits)).any(axis=2)
    return beyond & (labels.visibility > 0)


def _without_repeats(labels: Labels, problems: RowErrors) -> Labels:
    first: dict[tuple, str] = {}
    kept = []
    for index, subject in enumerate(labels.subjects):
        with problems.row(subject.place):
            # An image may be listed without labels more than once; the same subject may not.
            key = (normalize_path(subject.image), subject.keypoints.tobytes(), subject.box)
            if subject.visibility.any() and (earlier := first.setdefault(key, subject.place)) != subject.place:
                raise ValueError(f"labels {subject.image} exactly as {earlier} does")
            kept.append(index)
    problems.raise_or_warn("remove one of them")
    return labels.select(kept)


def _with_sizes(labels: Labels, image_folder: ImageFolder, problems: RowErrors) -> tuple[Labels, np.ndarray]:
    """The subjects whose images have a size, and the sizes; one header is read per image."""
    sizes: dict[str, tuple[int, int] | Exception] = {}
    missing: list[str] = []
    kept = []
    for index, subject in enumerate(labels.subjects):
        with problems.row(subject.place):
            if subject.image not in sizes:
                sizes[subject.image] = _size(image_folder, subject.image)
            found = sizes[subject.image]
            if isinstance(found, Exception):
                missing += [subject.image] * isinstance(found, FileNotFoundError)
                raise found
            _agree(subject, found)
            kept.append(index)
    where = _where_else(missing[0], Path(labels.source), image_folder.folder) if missing else ""
    problems.raise_or_warn(where)
    return labels.select(kept), np.array([sizes[labels.images[i]] for i in kept], dtype=np.int64).reshape(-1, 2)


def _size(image_folder: ImageFolder, image: str) -> tuple[int, int] | Exception:
    try:
        return image_folder.size(image)
    except (FileNotFoundError, ValueError) as error:
        return error


def _agree(subject: Subject, size: tuple[int, int]) -> None:
    if any(subject.size) and subject.size != size:
        raise ValueError(
            f"{subject.image} is {size[1]} wide and {size[0]} high, but its labels say {subject.size[1]} and"
            f" {subject.size[0]}: they were made on another version of it"
        )


def _where_else(missing: str, source: Path, folder: Path) -> str:
    """The way out: another base folder under which the image does exist, if one is near."""
    near = [folder.parent, folder.parent.parent, source, *list(source.parents)[:4]]
    for base in (*near, *_subfolders(folder), *_subfolders(source.parent), *_subfolders(source.parent.parent)):
        if (base / missing).is_file():
            return f"{missing} exists under {base}: set data.images={base}"
    return f"paths are taken relative to data.images={folder}: set it so that {folder / missing} exists"


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _inside(labels: Labels, sizes: np.ndarray, problems: RowErrors, outside: str) -> tuple[Labels, np.ndarray]:
    beyond = outside_points(labels, sizes)
    if not beyond.any():
        return labels, sizes
    if outside == "drop":
        places = [f"{labels.places[i]}: {_place(labels, sizes, i, k)}" for i, k in np.argwhere(beyond)]
        _log.warning(
            "%s: %d labeled points outside their image are treated as unlabeled%s",
            labels.source,
            len(places),
            first_few(places),
        )
        return replace(labels, subjects=tuple(map(_unlabel, labels.subjects, beyond))), sizes
    for i, k in np.argwhere(beyond):
        with problems.row(labels.places[i]):
            raise ValueError(_place(labels, sizes, i, k))
    problems.raise_or_warn("correct it, or set data.outside=drop to treat such points as unlabeled")
    kept = np.flatnonzero(~beyond.any(axis=1))
    return labels.select(kept), sizes[kept]


def _unlabel(subject: Subject, points: np.ndarray) -> Subject:
    return replace(
        subject,
        keypoints=np.where(points[:, None], np.nan, subject.keypoints),
        visibility=np.where(points, 0, subject.visibility),
    )


def _place(labels: Labels, sizes: np.ndarray, index: int, point: int) -> str:
    (x, y), (height, width) = labels.keypoints[index, point], sizes[index]
    return (
        f"{labels.skeleton.names[point]} at ({x:g}, {y:g}) lies outside its image {labels.images[index]},"
        f" which is {width} wide and {height} high"
    )
