"""The content of a SLEAP file, read by sleap-io after checks that a hostile file does not pass."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from softpoint.labels.formats.parsing import sandbox

# Time limit of reading. A new Python starts in 1 s, and 1 MiB of instances takes 0.2 s, on a slow disk more.
SECONDS = 60.0
SECONDS_PER_MIB = 1.0

_MAX_BYTES = 1 << 30  # of a table; HDF5 can state any size in a few bytes
_NEXT_VERSION = 3.0  # from which the tables have another layout

_MISSING = 'SLEAP files are read by sleap-io ({}): pip install "softpoint[sleap]"'

_CODE = """
from softpoint.labels.formats.parsing import sandbox, sleap_file
sandbox.return_result(sleap_file.read_in_process)
"""


class Instance(NamedTuple):
    """An instance placed by a person."""

    points: np.ndarray  # (P, 2), NaN for a point that is not marked visible
    track: str  # empty without a track


class Frame(NamedTuple):
    """A frame with its instances."""

    video: int
    number: int  # of the frame in its video
    instances: list[Instance]  # placed by a person
    predicted: int  # number of other instances


class Nodes(NamedTuple):
    """A skeleton; symmetries and edges are pairs of indices into `names`."""

    names: list[str]
    symmetries: list[list[int]]
    edges: list[list[int]]


class Video(NamedTuple):
    """A video as the file describes it."""

    files: list[str]  # as written; several for a list of single images
    is_list: bool
    embedded: bool  # whether the SLEAP file itself holds the images
    dataset: str  # of the images inside an HDF5 file; empty for other videos
    cropped: bool
    group: str  # the original video; empty for single images, which are grouped by folder


class Project(NamedTuple):
    """The content of a SLEAP file."""

    skeletons: list[Nodes]  # those of the instances placed by a person, or all if there are no such instances
    videos: list[Video]
    frames: list[Frame]


def load(path: Path) -> Project:
    """Return the content of a SLEAP file, read in a separate process, which a damaged file can crash or hang.

    No video is opened. Raises a ValueError that names the file if it is invalid or takes too long, which is more than
    SECONDS plus SECONDS_PER_MIB of its size.
    """
    try:
        missing = next((name for name in ("h5py", "sleap_io.io") if find_spec(name) is None), None)
    except ImportError as error:
        missing = str(error)
    if missing is not None:
        raise ValueError(_MISSING.format(missing))
    seconds = SECONDS + SECONDS_PER_MIB * path.stat().st_size / 2**20
    return sandbox.run_sandboxed(_CODE, path, seconds, _project)


def read_in_process(path: Path) -> Project:
    """Return the content of a SLEAP file, read in this process; raise as `load` does."""
    try:
        import h5py
        from sleap_io.io import slp
        from sleap_io.io.utils import read_hdf5_dataset
    except ImportError as error:
        raise ValueError(_MISSING.format(error)) from error
    name = os.path.abspath(path)  # noqa: PTH100, sleap-io never takes an absolute path for an address
    try:
        with h5py.File(name, "r") as file:
            _check_tables(h5py, file)
            version = float(file["metadata"].attrs["format_id"])
        if version >= _NEXT_VERSION:
            raise ValueError(f"it is of version {version:g}; save it for version 2")
        skeletons, videos = slp.read_skeletons(name), slp.read_videos(name, open_backend=False)
        frames, rows = read_hdf5_dataset(name, "frames"), read_hdf5_dataset(name, "instances")
        points, predicted = slp.read_points(name), slp.read_pred_points(name)
        _check_spans("frames", frames, "instance_id", len(rows))
        _check_spans("instances", rows, "point_id", len(points) + len(predicted))
        tracks = slp.read_tracks(name)
        instances = slp.read_instances(name, skeletons, tracks, points, predicted, version)
        spans = zip(frames["instance_id_start"], frames["instance_id_end"], strict=True)
        by_frame = [instances[int(start) : int(end)] for start, end in spans]
        used = {id(i.skeleton): i.skeleton for i in chain.from_iterable(by_frame) if _is_placed(i)}
        return Project(
            [
                Nodes([str(name) for name in s.node_names], _pairs(s.symmetry_inds), _pairs(s.edge_inds))
                for s in used.values() or skeletons
            ],
            [_video(video, name) for video in videos],
            _frames(frames, videos, by_frame),
        )
    except Exception as error:  # HDF5 and its readers raise nearly anything on a damaged or hostile file
        raise ValueError(f"{path} cannot be read as a SLEAP file: {error}; save it again in SLEAP") from error


def _check_tables(h5py: Any, file: Any) -> None:
    """Raise ValueError for tables whose size would fill the memory, and for those in other files of the machine."""
    for name in file:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"its part {name} is a link")

    def check(name: str, part: Any) -> None:
        if isinstance(part, h5py.Dataset):
            if part.external or part.is_virtual:
                raise ValueError(f"its table {name} is stored in another file")
            if part.nbytes > _MAX_BYTES and not name.endswith("/video"):
                raise ValueError(f"its table {name} has {part.nbytes} bytes, which is too large")

    file.visititems(check)


def _check_spans(table: str, rows: np.ndarray, key: str, count: int) -> None:
    """Raise ValueError for rows that share what they refer to: a few could stand for endless lists."""
    spans = rows[f"{key}_end"].astype(np.float64) - rows[f"{key}_start"].astype(np.float64)
    if not (spans.clip(0).sum() <= count):
        raise ValueError(f"its {table} refer to more than the file holds")


def _is_placed(instance: Any) -> bool:
    return type(instance).__name__ == "Instance"


def _video(video: Any, path: str) -> Video:
    names = video.backend_metadata.get("filenames")
    files = [str(name) for name in names or [video.filename]]
    dataset = str(video.backend_metadata.get("dataset") or "").strip("/").removesuffix("/video")
    embedded = not names and files == [Path(path).as_posix()]
    if video.source_video is not None:
        group = _video(video.source_video, path).group
    elif names:
        group = ""
    else:
        group = dataset if embedded else files[0].replace("\\", "/")
    return Video(files, bool(names), embedded, dataset, bool(video.backend_metadata.get("crop")), group)


def _frames(table: np.ndarray, videos: list[Any], by_frame: list[list[Any]]) -> list[Frame]:
    """Return the frames, each with the index of its video in `videos`.

    A package of some of a project's videos keeps the numbers that these had in the project.
    """
    numbers = [int(number) for number in table["video"]]
    positions: dict[int, int] = {}
    if not len(set(numbers)) == len(videos) == max(numbers, default=0) + 1:
        for position, video in enumerate(videos):
            match = re.match(r"video(\d{1,9})/", str(video.backend_metadata.get("dataset") or ""))
            positions[int(match[1]) if match else position] = position
    frames = []
    for number, index, instances in zip(numbers, table["frame_idx"], by_frame, strict=True):
        placed = [
            Instance(np.array(i.numpy(), np.float64), "" if i.track is None else str(i.track.name))
            for i in instances
            if _is_placed(i)
        ]
        frames.append(Frame(positions.get(number, number), int(index), placed, len(instances) - len(placed)))
    return frames


def _project(plain: list[Any]) -> Project:
    """Return the project of `read_in_process` from the plain values that its process returned, types checked."""
    skeletons, videos, frames = plain
    return Project(
        [Nodes([str(name) for name in names], _pairs(flips), _pairs(edges)) for names, flips, edges in skeletons],
        [
            Video([str(file) for file in files], bool(is_list), bool(embedded), str(dataset), bool(cropped), str(group))
            for files, is_list, embedded, dataset, cropped, group in videos
        ],
        [
            Frame(
                int(video),
                int(index),
                [Instance(np.array(points, np.float64).reshape(-1, 2), str(track)) for points, track in instances],
                int(predicted),
            )
            for video, index, instances, predicted in frames
        ],
    )


def _pairs(values: Any) -> list[list[int]]:
    return [[int(i), int(j)] for i, j in values]
