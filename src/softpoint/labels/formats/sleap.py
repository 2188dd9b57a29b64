"""SLEAP's projects (.slp) and packages with images inside (.pkg.slp), read by sleap-io."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from softpoint.extras import require
from softpoint.images.listing import SUFFIXES
from softpoint.labels.formats.parsing import sandbox
from softpoint.labels.formats.parsing.hdf5 import check_table
from softpoint.labels.formats.parsing.path_search import Tails, best_folder, folders_near
from softpoint.labels.formats.parsing.rows import unlabeled_points, visibility_of
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton, infer_flip_pairs

DESCRIPTION = "a SLEAP project or package, *.slp"

# Time limit of reading. A new Python starts in 1 s, and 1 MiB of instances takes 0.2 s, on a slow disk more.
SECONDS = 60.0
SECONDS_PER_MIB = 1.0

_NEXT_VERSION = 3.0  # from which the tables have another layout


class _Video(NamedTuple):
    """A video as the file describes it."""

    files: list[str]  # as written; several for a list of single images
    is_list: bool
    embedded: bool  # whether the SLEAP file itself holds the images
    dataset: str  # of the images inside an HDF5 file; empty for other videos
    cropped: bool
    group: str  # the original video; empty for single images, which are grouped by folder


class _Frame(NamedTuple):
    """A frame with its instances."""

    video: int
    number: int  # of the frame in its video
    chosen: list[Any]  # instances of sleap-io: those that a person placed, or the predicted ones
    others: int  # number of the other instances


def recognize(path: Path, head: bytes) -> bool:
    """Return whether this is an HDF5 file named *.slp.

    >>> recognize(Path("a.pkg.slp"), b"\\x89HDF\\r\\n\\x1a\\n"), recognize(Path("a.h5"), b"\\x89HDF\\r\\n\\x1a\\n")
    (True, False)
    """
    return path.suffix.lower() == ".slp" and head.startswith(b"\x89HDF\r\n\x1a\n")


def read(path: Path, errors: RowErrors, images: Path | None = None, module: str = __name__) -> Labels:
    """Return the instances placed by a person; a point that is not marked visible is unlabeled.

    Coordinates count from the center of a pixel, as sleap-io returns them for every version of the format. Predicted
    instances are skipped, and so is a frame that has no others; a frame without any is an unlabeled image. An image is
    named as in `images.containers`, and its group is its video. Videos are searched below `images`, or near the file;
    none is opened. The file is read in a separate process, which a damaged one can crash or hang, by the
    `read_in_process` of `module`.
    Raises ValueError for a file that cannot be read in SECONDS plus SECONDS_PER_MIB of its size, or mixes skeletons.
    """
    require("h5py", "sleap", str(path))
    require("sleap_io", "sleap", str(path))
    seconds = SECONDS + SECONDS_PER_MIB * path.stat().st_size / 2**20
    return sandbox.read_labels(module, path, errors, images, seconds)


def read_in_process(path: Path, errors: RowErrors, images: Path | None, predicted: bool = False) -> Labels:
    """Return the labels as `read` does, in this process; with `predicted` the predicted instances in their place."""
    try:
        skeletons, videos, frames = _content(path, predicted)
    except Exception as error:  # HDF5 and its readers raise nearly anything on a damaged or hostile file
        raise ValueError(f"{path} cannot be read as a SLEAP file: {error}; save it again in SLEAP") from error
    skeleton = _skeleton(path, skeletons)
    labeled = {frame.video for frame in frames}
    folder = _folder(path, [video for number, video in enumerate(videos) if number in labeled], images)
    tails = Tails(folder, [name for video in videos if not video.embedded for name in video.files])
    subjects: list[Subject] = []
    for frame in frames:
        with errors.row(f"frame {frame.number} of video {frame.video}"):
            subjects += _subjects(path, tails, videos, frame, len(skeleton))
    unused = {f"{'placed' if predicted else 'predicted'} instances": sum(frame.others for frame in frames)}
    return Labels(str(path), str(folder), skeleton, tuple(subjects), unused=unused)


def _content(path: Path, predicted_ones: bool) -> tuple[list[Any], list[_Video], list[_Frame]]:
    """Return the skeletons of the instances that are read, or all if there are none, the videos and frames."""
    import h5py
    from sleap_io.io import slp
    from sleap_io.io.utils import read_hdf5_dataset

    name = os.path.abspath(path)  # noqa: PTH100, sleap-io never takes an absolute path for an address
    with h5py.File(name, "r") as file:
        file.visititems(check_table)
        for part in file:
            if not isinstance(file.get(part, getlink=True), h5py.HardLink):
                raise ValueError(f"its part {part} is a link")
        version = float(file["metadata"].attrs["format_id"])
    if version >= _NEXT_VERSION:
        raise ValueError(f"it is of version {version:g}; save it for version 2")
    skeletons, videos = slp.read_skeletons(name), slp.read_videos(name, open_backend=False)
    table, rows = read_hdf5_dataset(name, "frames"), read_hdf5_dataset(name, "instances")
    points, predicted = slp.read_points(name), slp.read_pred_points(name)
    _check_spans("frames", table, "instance_id", len(rows))
    _check_spans("instances", rows, "point_id", len(points) + len(predicted))
    instances = slp.read_instances(name, skeletons, slp.read_tracks(name), points, predicted, version)
    position = _video_positions(table["video"].tolist(), videos)
    frames = []
    columns = (table[key].tolist() for key in ("video", "frame_idx", "instance_id_start", "instance_id_end"))
    for video, number, start, end in zip(*columns, strict=True):
        chosen = [i for i in instances[start:end] if (type(i).__name__ == "PredictedInstance") == predicted_ones]
        frames.append(_Frame(position.get(video, video), number, chosen, len(instances[start:end]) - len(chosen)))
    used = {id(i.skeleton): i.skeleton for i in chain.from_iterable(frame.chosen for frame in frames)}
    return list(used.values()) or skeletons, [_video(video, path) for video in videos], frames


def _check_spans(table: str, rows: np.ndarray, key: str, count: int) -> None:
    """Raise ValueError for rows that share what they refer to: a few could stand for endless lists."""
    spans = rows[f"{key}_end"].astype(np.float64) - rows[f"{key}_start"].astype(np.float64)
    if not (spans.clip(0).sum() <= count):
        raise ValueError(f"its {table} refer to more than the file holds")


def _video(video: Any, path: Path) -> _Video:
    names = video.backend_metadata.get("filenames")
    files = [str(name) for name in names or [video.filename]]
    dataset = str(video.backend_metadata.get("dataset") or "").strip("/").removesuffix("/video")
    embedded = not names and files == [_absolute(path).as_posix()]
    if video.source_video is not None:
        group = _video(video.source_video, path).group
    elif names:
        group = ""
    else:
        group = dataset if embedded else files[0].replace("\\", "/")
    return _Video(files, bool(names), embedded, dataset, bool(video.backend_metadata.get("crop")), group)


def _video_positions(numbers: list[int], videos: Sequence[Any]) -> dict[int, int]:
    """Return the index in `videos` of each number: a package of some videos keeps the numbers of the project."""
    if len(set(numbers)) == len(videos) == max(numbers, default=0) + 1:
        return {}
    positions = {}
    for position, video in enumerate(videos):
        match = re.match(r"video(\d{1,9})/", str(video.backend_metadata.get("dataset") or ""))
        positions[int(match[1]) if match else position] = position
    return positions


def _skeleton(path: Path, skeletons: list[Any]) -> Skeleton:
    """Return the skeleton of all instances; its symmetries are the flip pairs, if it has any."""
    nodes = {tuple(map(str, skeleton.node_names)) for skeleton in skeletons}
    if len(nodes) != 1 or not (names := nodes.pop()):
        raise ValueError(f"{path} has {len(nodes)} skeletons with nodes; it must have one, so split it by skeleton")
    try:
        pairs, edges = (
            tuple((names[int(i)], names[int(j)]) for i, j in links)
            for links in (skeletons[0].symmetry_inds, skeletons[0].edge_inds)
        )
        return Skeleton(names, pairs or infer_flip_pairs(names), edges)
    except Exception as error:  # a damaged file may have symmetries of one node
        raise ValueError(f"{path}: its skeleton is invalid ({error}); save it again in SLEAP") from error


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100, links stay as they are


def _folder(path: Path, videos: list[_Video], images: Path | None) -> Path:
    """Return the folder that the paths of the images are relative to."""
    folders = [images] if images else folders_near(path)
    if any(video.embedded for video in videos):
        folders = [folder for folder in folders if _absolute(path).is_relative_to(_absolute(folder))]
        if not folders:
            raise ValueError(f"{path} has its images inside; leave data.images empty, or name a folder above it")
    return best_folder(folders, [name for video in videos if not video.embedded for name in video.files])


def _subjects(path: Path, tails: Tails, videos: list[_Video], frame: _Frame, count: int) -> list[Subject]:
    if frame.others and not frame.chosen:
        return []
    if not 0 <= frame.video < len(videos):
        raise ValueError(f"there is no video {frame.video}: the file has {len(videos)}, counted from 0")
    group = videos[frame.video].group or None
    image = _image(path, tails, videos[frame.video], frame.number)
    place = f"frame {frame.number} of {group or image}"
    if not frame.chosen:
        return [Subject(image, place, *unlabeled_points(count), group=group)]
    subjects = []
    for number, instance in enumerate(frame.chosen, 1):
        points = np.array(instance.numpy(), np.float64)
        if len(points) != count:
            raise ValueError(f"an instance has {len(points)} points, but its skeleton {count}")
        if np.isinf(points).any():
            raise ValueError("a coordinate is infinite")
        points[np.isnan(points).any(axis=1)] = np.nan
        name = "" if instance.track is None else str(instance.track.name)
        label = f"{place}, instance {number}"
        scores = _scores(instance)
        subjects.append(Subject(image, label, points, visibility_of(points), name=name, group=group, confidence=scores))
    return subjects


def _scores(instance: Any) -> np.ndarray | None:
    """Return the scores (K,) of the points of a predicted instance."""
    names = instance.points.dtype.names or ()
    return np.array(instance.points["score"], np.float64) if "score" in names else None


def _image(path: Path, tails: Tails, video: _Video, index: int) -> str:
    """Return the name of a video's frame, relative to the folder of `tails`."""
    if video.cropped:
        raise ValueError("its video is a cropped view of another; save the project with whole videos")
    if ".." in video.dataset.split("/"):
        raise ValueError(f"{video.dataset[:60]!r} is no place for images inside a file")
    if not 0 <= index < (len(video.files) if video.is_list else index + 1):
        raise ValueError(f"there is no frame {index}: its video has {len(video.files)} images, counted from 0")
    if video.embedded:
        file = _absolute(path).relative_to(_absolute(tails.folder)).as_posix()
    else:
        file = tails[video.files[index if video.is_list else 0]]
    if video.is_list or PurePosixPath(file).suffix.lower() in SUFFIXES:
        return file
    return "/".join(part for part in (file, video.dataset, f"{index:06d}") if part)
