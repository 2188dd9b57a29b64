"""Whether labels agree with the pictures they are about."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from softpoint.data.labels import Labels, Subject, same_path
from softpoint.data.pictures import Pictures
from softpoint.data.problems import Problems, first_few
from softpoint.suggest import did_you_mean

# How far beyond the centres of the border pixels a point may lie, in pixels: labelling tools let people
# click on the border itself, x = width.
BORDER = 1.0

_log = logging.getLogger(__name__)


def check(labels: Labels, pictures: Pictures, problems: Problems, outside: str = "error") -> tuple[Labels, np.ndarray]:
    """The labels, proved to fit their pictures, and the (N, 2) height and width of each subject's picture.

    A labelled point outside its picture is a problem, or becomes unlabelled where `outside` is "drop".
    Pictures without any labelled point are kept. Raises ValueError for pictures that are missing or cannot
    be read, have another size than the file states, or are labelled twice alike, unless `problems` skips
    them; and where nothing is labelled at all.
    """
    if outside not in ("error", "drop"):
        raise ValueError(f"data.outside={outside!r}: {did_you_mean(outside, ('error', 'drop'))}")
    labels = _without_repeats(labels, problems)
    labels, sizes = _with_sizes(labels, pictures, problems)
    labels, sizes = _inside(labels, sizes, problems, outside)
    if not (labels.visibility > 0).any():
        raise ValueError(
            f"{labels.source}: none of its {len(labels)} subjects has a labelled point; label some, or check"
            " that its coordinates are filled in"
        )
    return labels, sizes


def outside_points(labels: Labels, sizes: np.ndarray) -> np.ndarray:
    """Which labelled points (N, K) lie beyond their picture; `sizes` (N, 2) is height and width."""
    limits = sizes[:, None, ::-1] - 1 + BORDER
    with np.errstate(invalid="ignore"):
        beyond = ((labels.keypoints < -BORDER) | (labels.keypoints > limits)).any(axis=2)
    return beyond & (labels.visibility > 0)


def _without_repeats(labels: Labels, problems: Problems) -> Labels:
    first: dict[tuple, str] = {}
    kept = []
    for index, subject in enumerate(labels.subjects):
        with problems.row(subject.place):
            # A picture may be listed without labels more than once; the same subject may not.
            key = (same_path(subject.image), subject.keypoints.tobytes(), subject.box)
            if subject.visibility.any() and (earlier := first.setdefault(key, subject.place)) != subject.place:
                raise ValueError(f"labels {subject.image} exactly as {earlier} does")
            kept.append(index)
    problems.settle("remove one of them")
    return labels.select(kept)


def _with_sizes(labels: Labels, pictures: Pictures, problems: Problems) -> tuple[Labels, np.ndarray]:
    """The subjects whose pictures have a size, and the sizes; one header is read per picture."""
    sizes: dict[str, tuple[int, int] | Exception] = {}
    missing: list[str] = []
    kept = []
    for index, subject in enumerate(labels.subjects):
        with problems.row(subject.place):
            if subject.image not in sizes:
                sizes[subject.image] = _size(pictures, subject.image)
            found = sizes[subject.image]
            if isinstance(found, Exception):
                missing += [subject.image] * isinstance(found, FileNotFoundError)
                raise found
            _agree(subject, found)
            kept.append(index)
    where = _where_else(missing[0], Path(labels.source), pictures.folder) if missing else ""
    problems.settle(where)
    return labels.select(kept), np.array([sizes[labels.images[i]] for i in kept], dtype=np.int64).reshape(-1, 2)


def _size(pictures: Pictures, image: str) -> tuple[int, int] | Exception:
    try:
        return pictures.size(image)
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


def _inside(labels: Labels, sizes: np.ndarray, problems: Problems, outside: str) -> tuple[Labels, np.ndarray]:
    beyond = outside_points(labels, sizes)
    if not beyond.any():
        return labels, sizes
    if outside == "drop":
        places = [f"{labels.places[i]}: {_place(labels, sizes, i, k)}" for i, k in np.argwhere(beyond)]
        _log.warning(
            "%s: %d labelled points outside their image are treated as unlabelled%s",
            labels.source,
            len(places),
            first_few(places),
        )
        return replace(labels, subjects=tuple(map(_unlabel, labels.subjects, beyond))), sizes
    for i, k in np.argwhere(beyond):
        with problems.row(labels.places[i]):
            raise ValueError(_place(labels, sizes, i, k))
    problems.settle("correct it, or set data.outside=drop to treat such points as unlabelled")
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
