"""Validation of labels against the images that they are about."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from softpoint.images import ImageFolder
from softpoint.labels.formats.parsing.path_search import LikelyNames, folders_with, near_miss, near_misses
from softpoint.labels.row_errors import NothingLeftError, RowError, RowErrors, first_few
from softpoint.labels.schema import UNLABELED, Labels
from softpoint.paths import normalize_path
from softpoint.suggest import setting

# Pixels by which a point may be beyond the centers of the border pixels: labeling tools let people click on the
# border itself, x = width.
BORDER = 1.0

# Number of images that are looked for in other folders.
_SAMPLE = 50

_log = logging.getLogger(__name__)


def validate(
    labels: Labels,
    image_folder: ImageFolder,
    errors: RowErrors,
    out_of_frame: str = "error",
    sizes: Mapping[str, tuple[int, int]] = MappingProxyType({}),
) -> tuple[Labels, np.ndarray]:
    """Return labels that fit their images, and the height and width (N, 2) of each subject's image.

    A labeled point outside its image is an error, or becomes unlabeled where `out_of_frame` is "drop".
    Images without any labeled point are kept. `sizes` are those of images that were read before.
    Raises ValueError for images that are missing or cannot
    be read, have another size than the file states, or are labeled twice alike, unless `errors` skips
    them; and where nothing is labeled at all.
    """
    repeated = repeated_subjects(labels)
    errors.errors += [
        RowError(labels.places[i], f"labels {labels.images[i]} exactly as {repeated[i]} does", labels.images[i])
        for i in repeated
    ]
    errors.raise_or_warn("remove one of them")
    labels = labels.select(i for i in range(len(labels)) if i not in repeated)
    pages = pages_of_whole_files(labels)
    errors.errors += [
        RowError(labels.places[i], f"labels {labels.images[i]}, a page of {pages[i]}", labels.images[i]) for i in pages
    ]
    errors.raise_or_warn("the file is labeled as a whole, too, which is its page 000000: label its pages alone")
    labels = labels.select(i for i in range(len(labels)) if i not in pages)
    labels = _by_one_name(labels, image_folder, errors)
    labels, shapes = _with_sizes(labels, image_folder, errors, sizes)
    labels, shapes = _inside(labels, shapes, errors, out_of_frame)
    if not (labels.visibility > 0).any():
        raise NothingLeftError(f"{labels.source}: {_without_points(labels)}")
    return labels, shapes


def _without_points(labels: Labels) -> str:
    """Return what is wrong with labels of which no point is labeled."""
    way_out = "label some, or check that its coordinates are filled in"
    if labels.count:
        return f"none of its {labels.count} subjects has a labeled point; {way_out}"
    crowds = int(labels.crowds.sum())
    alone = f", only {crowds} crowds, of which nothing is learned" if crowds else ""
    return f"no subject is labeled in its {len(set(labels.paths))} images{alone}; {way_out}"


def with_found_names(labels: Labels, image_folder: ImageFolder) -> Labels:
    """Return the labels with the names of the files where these differ in case, spaces, accents or suffix alone.

    A file that is labeled by its own name, or that two names would stand for, is left for `validate` to refuse.
    """
    names = dict.fromkeys(labels.paths)
    missing = [name for name in names if not _exists(image_folder, name)]
    found = near_misses(image_folder.folder, missing)
    counts = Counter(found.values())
    found = {name: file for name, file in found.items() if counts[file] == 1 and file not in names}
    if not found:
        return labels
    name, file = next(iter(found.items()))
    _log.warning("%s: %d images have another name, as %s, which is %s here", labels.source, len(found), name, file)
    return _renamed(labels, found)


def with_corrected_names(labels: Labels, image_folder: ImageFolder) -> Labels:
    """Return the labels with the names of the files of which a missing image's is a misspelling, see `misspelled`."""
    likely = LikelyNames(image_folder.folder, labels.paths)
    missing = [name for name in dict.fromkeys(labels.paths) if not _exists(image_folder, name)]
    found = {name: file for name in missing if (file := likely.misspelled(name))}
    counts = Counter(found.values())
    return _renamed(labels, {name: file for name, file in found.items() if counts[file] == 1})


def _renamed(labels: Labels, found: Mapping[str, str]) -> Labels:
    images = [found.get(path, image) for image, path in zip(labels.images, labels.paths, strict=True)]
    splits = {found.get(normalize_path(image), image): split for image, split in labels.splits.items()}
    return replace(labels.changed(image=images), splits=splits)


def _exists(image_folder: ImageFolder, image: str) -> bool:
    try:
        path = image_folder.path(image)
    except (OSError, ValueError):  # refused later
        return True
    return path.exists() or any(parent.is_file() for parent in path.parents)  # or a frame of a video


def repeated_subjects(labels: Labels) -> dict[int, str]:
    """Return the index of each subject labeled exactly as an earlier one of its image, and the place of that one.

    An image without labels may be listed more than once.
    """
    first: dict[tuple[str, bytes, bytes], str] = {}
    repeated: dict[int, str] = {}
    labeled = np.asarray(labels.visibility.any(axis=1))
    rows = zip(labels.paths, labels.keypoints, labels.boxes + 0.0, strict=True)  # -0 + 0 is 0
    for index, (path, points, box) in enumerate(rows):
        key = (path, points.tobytes(), box.tobytes())
        if labeled[index] and key in first:
            repeated[index] = first[key]
        first.setdefault(key, labels.places[index])
    return repeated


def pages_of_whole_files(labels: Labels) -> dict[int, str]:
    """Return the index of each subject on a page of a file that is also labeled as a whole, and that file.

    The whole stands for its first page, which would have two names, and its pages would be in two groups.
    """
    whole = set(labels.paths)
    files = [path.rpartition("/")[0] for path in labels.paths]
    return {index: file for index, file in enumerate(files) if file in whole}


def outside_points(labels: Labels, sizes: np.ndarray) -> np.ndarray:
    """Return a mask (N, K) of labeled points beyond their image; `sizes` (N, 2) is height and width."""
    limits = sizes[:, None, ::-1] - 1 + BORDER
    with np.errstate(invalid="ignore"):
        beyond = ((labels.keypoints < -BORDER) | (labels.keypoints > limits)).any(axis=2)
    return beyond & (labels.visibility > 0)


def _by_one_name(labels: Labels, image_folder: ImageFolder, errors: RowErrors) -> Labels:
    """Return the labels without the subjects whose image has another name, by a link or another spelling, before."""
    first: dict[str, int] = {}
    for index, path in enumerate(labels.paths):
        first.setdefault(path, index)
    owner: dict[tuple[int, int, str], str] = {}
    again: dict[str, int] = {}
    for path in first:
        with suppress(OSError, ValueError):  # a frame of a video, or missing, which is found later
            file = image_folder.path(path)
            status = file.stat()
            link = os.path.realpath(file) if status.st_nlink > 1 else ""  # hard links are equal files, not one
            if (other := owner.setdefault((status.st_dev, status.st_ino, link), path)) != path:
                again[path] = first[other]
    kept = []
    for index, (place, image, path) in enumerate(zip(labels.places, labels.images, labels.paths, strict=True)):
        with errors.row(place, image):
            if path in again:
                earlier, at = labels.images[again[path]], labels.places[again[path]]
                raise ValueError(f"{image} is the image {earlier} of {at} by another name")
            kept.append(index)
    errors.raise_or_warn("give each image one name")
    return labels.select(kept)


def _with_sizes(
    labels: Labels, image_folder: ImageFolder, errors: RowErrors, known: Mapping[str, tuple[int, int]]
) -> tuple[Labels, np.ndarray]:
    """Return the subjects whose images have a size, and the sizes; one header is read per image of no `known` size."""
    sizes: dict[str, tuple[int, int] | Exception] = {**known}
    missing: list[str] = []
    likely = LikelyNames(image_folder.folder, labels.paths)
    kept = []
    rows = zip(labels.places, labels.images, labels.columns.numbers("size").tolist(), strict=True)
    for index, (place, image, (height, width)) in enumerate(rows):
        with errors.row(place, image):
            if image not in sizes:
                try:
                    sizes[image] = image_folder.size(image)
                except FileNotFoundError as error:
                    sizes[image] = FileNotFoundError(f"{error}{likely.hint(image)}")
                except ValueError as error:
                    sizes[image] = error
            size = sizes[image]
            if isinstance(size, Exception):
                missing += [image] * isinstance(size, FileNotFoundError)
                raise size
            if (height or width) and (height, width) != size:
                raise ValueError(
                    f"{image} is {size[1]} wide and {size[0]} high, but its labels say {width} and {height}:"
                    " they were made on another version of it"
                )
            kept.append(index)
    errors.raise_or_warn(_folder_hint(labels, missing, image_folder.folder) if missing else "")
    return labels.select(kept), np.array([sizes[labels.images[i]] for i in kept], dtype=np.int64).reshape(-1, 2)


def _folder_hint(labels: Labels, missing: list[str], folder: Path) -> str:
    """Return the way out for missing images: the only nearby folder that has nearly all of them, if they are there."""
    images, lost = list(dict.fromkeys(labels.images)), len(set(missing))
    if 2 * lost < len(images):
        way_out = "restore it, or correct its name" if lost == 1 else "restore the missing ones, or correct their names"
        return f"the other {len(images) - lost} images are in data.images={folder}: {way_out}"
    if (near := near_miss(folder, missing[0])) is not None:
        return f"{folder} has {near}, not {missing[0]}: correct the paths in the labels, or rename the images"
    found = folders_with(images[:: -(-len(images) // _SAMPLE)], Path(labels.source), folder)
    if len(found) == 1:
        # Names of files alone may be those of other images too.
        sure = "" if any("/" in path for path in labels.paths) else " if those are the images that were labeled"
        return f"{missing[0]} exists under {found[0]}: set {setting('data.images', found[0])}{sure}"
    if found:
        return f"{missing[0]} exists under {' and '.join(map(str, found))}: set data.images to the one that was labeled"
    return f"paths are taken relative to data.images={folder}: set it so that {folder / missing[0]} exists"


def _inside(labels: Labels, sizes: np.ndarray, errors: RowErrors, out_of_frame: str) -> tuple[Labels, np.ndarray]:
    """Return the labels without points, or without subjects, that are outside their image."""
    beyond = outside_points(labels, sizes)
    if not beyond.any():
        return labels, sizes
    messages = []
    for row, point in np.argwhere(beyond):
        (x, y), (height, width) = labels.keypoints[row, point], sizes[row]
        reason = (
            f"{labels.skeleton.names[point]} at ({x:g}, {y:g}) is outside its image {labels.images[row]},"
            f" which is {width} wide and {height} high"
        )
        messages.append(RowError(labels.places[row], reason, labels.images[row]))
    if out_of_frame == "drop":
        _log.warning(
            "%s: %d labeled points outside their image are treated as unlabeled%s",
            labels.source,
            len(messages),
            first_few(messages),
        )
        keypoints = np.where(beyond[..., None], np.nan, labels.keypoints)
        visibility = np.where(beyond, UNLABELED, labels.visibility)
        return labels.changed(keypoints=keypoints, visibility=visibility), sizes
    errors.errors += messages
    errors.raise_or_warn("correct it, or set data.out_of_frame=drop to treat such points as unlabeled")
    kept = np.flatnonzero(~beyond.any(axis=1))
    return labels.select(kept), sizes[kept]
