"""The projects (.slp) and packages with images inside (.pkg.slp) of SLEAP."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from softpoint.images.decode import SUFFIXES
from softpoint.labels.formats.parsing.path_search import best_folder, folders_near, tail_below
from softpoint.labels.formats.parsing.sleap_file import Entry, Film, Placed, Project, load
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import UNLABELED, VISIBLE, Labels, Subject
from softpoint.labels.skeleton import Skeleton, infer_flip_pairs

DESCRIPTION = "a SLEAP project or package, *.slp"

_HDF5 = b"\x89HDF\r\n\x1a\n"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Film:
    """A video and how its images are found."""

    files: list[str]  # as they are written; several where the video is a list of single images
    single: bool  # whether it is such a list
    inside: bool  # whether the SLEAP file itself holds its images
    dataset: str  # where the images lie inside an HDF5 file; empty for other videos
    cropped: bool
    group: str | None  # the video that was filmed; None for single images, which their folders group


def recognize(path: Path, head: bytes) -> bool:
    """Whether this is one: an HDF5 file named *.slp.

    >>> recognize(Path("a.pkg.slp"), b"\\x89HDF\\r\\n\\x1a\\n"), recognize(Path("a.h5"), b"\\x89HDF\\r\\n\\x1a\\n")
    (True, False)
    """
    return path.suffix.lower() == ".slp" and head.startswith(_HDF5)


def read(path: Path, problems: RowErrors, images: Path | None = None) -> Labels:
    """The instances that a person placed; a point that is not marked visible is unlabeled.

    Coordinates count from the center of a pixel, as sleap-io gives them for every version of the format. Predicted
    instances are passed over, and so is a frame that has no others; a frame without any is an image without
    labels. An image is named as `images.frames` finds it, and its group is its video. Videos are looked for
    below `images`, or else near the file.
    Raises ValueError for a file that cannot be read or that mixes skeletons.
    """
    project = load(path)
    skeleton = _skeleton(path, project)
    films = [_film(path, film) for film in project.films]
    folder = _folder(path, [film for n, film in enumerate(films) if n in {e.video for e in project.entries}], images)
    subjects: list[Subject] = []
    for entry in project.entries:
        with problems.row(f"frame {entry.index} of video {entry.video}"):
            subjects += _subjects(path, folder, films, entry, len(skeleton))
    if predicted := sum(entry.predicted for entry in project.entries):
        _log.info("%s: passed over %d predicted instances; those that a person placed are used", path, predicted)
    return Labels(str(path), str(folder), skeleton, tuple(subjects))


def _skeleton(path: Path, project: Project) -> Skeleton:
    """The skeleton that all instances share; its symmetries are the flip pairs, if it has any."""
    kinds = {tuple(skeleton.names) for skeleton in project.skeletons}
    if len(kinds) != 1 or not (names := kinds.pop()):
        raise ValueError(f"{path} has {len(kinds)} skeletons with nodes; it must have one, so split it by skeleton")
    try:
        first = project.skeletons[0]
        pairs = tuple((names[i], names[j]) for i, j in first.symmetries)
        edges = tuple((names[i], names[j]) for i, j in first.edges)
        return Skeleton(names, pairs or infer_flip_pairs(names), edges)
    except Exception as error:  # a damaged file has symmetries of one node, and worse
        raise ValueError(f"{path}: its skeleton is not sound ({error}); save it again in SLEAP") from error


def _film(path: Path, film: Film) -> _Film:
    dataset = film.dataset.strip("/").removesuffix("/video")
    inside = not film.single and film.files == [_absolute(path).as_posix()]
    source = None if film.source is None else _film(path, film.source)
    written = dataset if inside else film.files[0].replace("\\", "/")
    group = source.group if source else None if film.single else written
    return _Film(film.files, film.single, inside, dataset, film.cropped, group)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100, links stay as they are


def _folder(path: Path, films: list[_Film], images: Path | None) -> Path:
    """Where the paths of the images start from."""
    inside = any(film.inside for film in films)
    folders = [images] if images else folders_near(path)
    if inside:
        folders = [folder for folder in folders if _absolute(path).is_relative_to(_absolute(folder))]
        if not folders:
            raise ValueError(f"{path} has its images inside; leave data.images empty, or name a folder above it")
    return best_folder(folders, [name for film in films if not film.inside for name in film.files])


def _subjects(path: Path, folder: Path, films: list[_Film], entry: Entry, count: int) -> list[Subject]:
    if entry.predicted and not entry.placed:
        return []
    if not 0 <= entry.video < len(films):
        raise ValueError(f"there is no video {entry.video}: the file has {len(films)}, counted from 0")
    group = films[entry.video].group
    image = _image(path, folder, films[entry.video], entry.index)
    place = f"frame {entry.index} of {group or image}"
    if not entry.placed:
        nothing, unlabeled = np.full((count, 2), np.nan), np.full(count, UNLABELED, np.int64)
        return [Subject(image, place, nothing, unlabeled, group=group)]
    return [
        _subject(instance, count, image, f"{place}, instance {i}", group) for i, instance in enumerate(entry.placed, 1)
    ]


def _subject(instance: Placed, count: int, image: str, place: str, group: str | None) -> Subject:
    points = instance.points
    if len(points) != count:
        raise ValueError(f"an instance has {len(points)} points, but its skeleton {count}")
    if np.isinf(points).any():
        raise ValueError("a coordinate is infinite")
    labeled = ~np.isnan(points.sum(axis=1))
    visibility = np.where(labeled, VISIBLE, UNLABELED).astype(np.int64)
    points = np.where(labeled[:, None], points, np.nan)
    return Subject(image, place, points, visibility, name=instance.track, group=group)


def _image(path: Path, folder: Path, film: _Film, index: int) -> str:
    """The name of a video's frame, relative to `folder`."""
    if film.cropped:
        raise ValueError("its video is a cropped view of another; save the project with whole videos")
    if ".." in film.dataset.split("/"):
        raise ValueError(f"its images lie in {film.dataset[:60]!r}, which is no place inside a file")
    if not 0 <= index < (len(film.files) if film.single else index + 1):
        raise ValueError(f"there is no frame {index}: its video has {len(film.files)} images, counted from 0")
    if film.inside:
        file = _absolute(path).relative_to(_absolute(folder)).as_posix()
    else:
        file = _found(folder, film.files[index if film.single else 0])
    if film.single or PurePosixPath(file).suffix.lower() in SUFFIXES:
        return file
    return "/".join(part for part in (file, film.dataset, f"{index:06d}") if part)


def _found(folder: Path, written: str) -> str:
    file = tail_below(folder, written)
    if file is None:
        name = written.replace("\\", "/").rpartition("/")[2]
        raise FileNotFoundError(f"{written} was not found below {folder}; set data.images to the folder of {name}")
    return file
