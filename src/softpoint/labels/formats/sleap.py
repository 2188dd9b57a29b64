"""SLEAP's projects (.slp) and packages with images inside (.pkg.slp)."""

from __future__ import annotations

import logging
import os
from pathlib import Path, PurePosixPath

import numpy as np

from softpoint.images.decode import SUFFIXES
from softpoint.labels.formats.parsing import sleap_file
from softpoint.labels.formats.parsing.path_search import best_folder, folders_near, tail_below
from softpoint.labels.formats.parsing.rows import unlabeled_points, visibility_of
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton, infer_flip_pairs

DESCRIPTION = "a SLEAP project or package, *.slp"

_log = logging.getLogger(__name__)


def recognize(path: Path, head: bytes) -> bool:
    """Return whether this is an HDF5 file named *.slp.

    >>> recognize(Path("a.pkg.slp"), b"\\x89HDF\\r\\n\\x1a\\n"), recognize(Path("a.h5"), b"\\x89HDF\\r\\n\\x1a\\n")
    (True, False)
    """
    return path.suffix.lower() == ".slp" and head.startswith(b"\x89HDF\r\n\x1a\n")


def read(path: Path, errors: RowErrors, images: Path | None = None) -> Labels:
    """Return the instances placed by a person; a point that is not marked visible is unlabeled.

    Coordinates count from the center of a pixel, as sleap-io returns them for every version of the format. Predicted
    instances are skipped, and so is a frame that has no others; a frame without any is an unlabeled image. An image is
    named as in `images.containers`, and its group is its video. Videos are searched below `images`, or near the file.
    Raises ValueError for a file that cannot be read or that mixes skeletons.
    """
    project = sleap_file.load(path)
    skeleton = _skeleton(path, project)
    labeled = {frame.video for frame in project.frames}
    folder = _folder(path, [video for number, video in enumerate(project.videos) if number in labeled], images)
    subjects: list[Subject] = []
    for frame in project.frames:
        with errors.row(f"frame {frame.number} of video {frame.video}"):
            subjects += _subjects(path, folder, project.videos, frame, len(skeleton))
    if predicted := sum(frame.predicted for frame in project.frames):
        _log.info("%s: skipped %d predicted instances; those placed by a person are used", path, predicted)
    return Labels(str(path), str(folder), skeleton, tuple(subjects))


def _skeleton(path: Path, project: sleap_file.Project) -> Skeleton:
    """Return the skeleton of all instances; its symmetries are the flip pairs, if it has any."""
    nodes = {tuple(skeleton.names) for skeleton in project.skeletons}
    if len(nodes) != 1 or not (names := nodes.pop()):
        raise ValueError(f"{path} has {len(nodes)} skeletons with nodes; it must have one, so split it by skeleton")
    try:
        first = project.skeletons[0]
        pairs = tuple((names[i], names[j]) for i, j in first.symmetries)
        edges = tuple((names[i], names[j]) for i, j in first.edges)
        return Skeleton(names, pairs or infer_flip_pairs(names), edges)
    except Exception as error:  # a damaged file may have symmetries of one node
        raise ValueError(f"{path}: its skeleton is invalid ({error}); save it again in SLEAP") from error


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100, links stay as they are


def _folder(path: Path, videos: list[sleap_file.Video], images: Path | None) -> Path:
    """Return the folder that the paths of the images are relative to."""
    folders = [images] if images else folders_near(path)
    if any(video.embedded for video in videos):
        folders = [folder for folder in folders if _absolute(path).is_relative_to(_absolute(folder))]
        if not folders:
            raise ValueError(f"{path} has its images inside; leave data.images empty, or name a folder above it")
    return best_folder(folders, [name for video in videos if not video.embedded for name in video.files])


def _subjects(
    path: Path, folder: Path, videos: list[sleap_file.Video], frame: sleap_file.Frame, count: int
) -> list[Subject]:
    if frame.predicted and not frame.instances:
        return []
    if not 0 <= frame.video < len(videos):
        raise ValueError(f"there is no video {frame.video}: the file has {len(videos)}, counted from 0")
    group = videos[frame.video].group or None
    image = _image(path, folder, videos[frame.video], frame.number)
    place = f"frame {frame.number} of {group or image}"
    if not frame.instances:
        return [Subject(image, place, *unlabeled_points(count), group=group)]
    subjects = []
    for number, instance in enumerate(frame.instances, 1):
        points = instance.points
        if len(points) != count:
            raise ValueError(f"an instance has {len(points)} points, but its skeleton {count}")
        if np.isinf(points).any():
            raise ValueError("a coordinate is infinite")
        points = np.where(np.isnan(points).any(axis=1, keepdims=True), np.nan, points)
        label = f"{place}, instance {number}"
        subjects.append(Subject(image, label, points, visibility_of(points), name=instance.track, group=group))
    return subjects


def _image(path: Path, folder: Path, video: sleap_file.Video, index: int) -> str:
    """Return the name of a video's frame, relative to `folder`."""
    if video.cropped:
        raise ValueError("its video is a cropped view of another; save the project with whole videos")
    if ".." in video.dataset.split("/"):
        raise ValueError(f"{video.dataset[:60]!r} is no place for images inside a file")
    if not 0 <= index < (len(video.files) if video.is_list else index + 1):
        raise ValueError(f"there is no frame {index}: its video has {len(video.files)} images, counted from 0")
    if video.embedded:
        file = _absolute(path).relative_to(_absolute(folder)).as_posix()
    else:
        written = video.files[index if video.is_list else 0]
        tail = tail_below(folder, written)
        if tail is None:
            name = written.replace("\\", "/").rpartition("/")[2]
            raise FileNotFoundError(f"{written} was not found below {folder}; set data.images to the folder of {name}")
        file = tail
    if video.is_list or PurePosixPath(file).suffix.lower() in SUFFIXES:
        return file
    return "/".join(part for part in (file, video.dataset, f"{index:06d}") if part)
