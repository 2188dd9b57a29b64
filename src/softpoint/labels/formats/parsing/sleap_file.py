"""What a SLEAP file holds, read by sleap-io after a look at what an untrusted file must not do."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.labels.formats.parsing import sandbox

# How long reading may take. A new Python starts in 1 s, and 1 MiB of instances takes 0.2 s, on a slow disk more.
SECONDS = 60.0
SECONDS_PER_MIB = 1.0

# Tables larger than this are not those of labels; HDF5 can state any size in a few bytes.
_BYTES = 1 << 30

# From this version on the tables have another layout.
_NEWER = 3.0

_MISSING = 'SLEAP files are read by sleap-io ({}); pip install -e ".[sleap]"'

_READ = "from softpoint.labels.formats.parsing import sandbox, sleap_file; sandbox.answer(sleap_file.read_here)"


@dataclass(frozen=True)
class Placed:
    """An instance that a person placed."""

    points: np.ndarray  # (P, 2), NaN where a point is not marked visible
    track: str  # empty where it has none


@dataclass(frozen=True)
class Entry:
    """A frame as the file lists it."""

    video: int
    index: int
    placed: list[Placed]
    predicted: int  # how many other instances there are


@dataclass(frozen=True)
class Nodes:
    """A skeleton; symmetries and edges are pairs of positions in `names`."""

    names: list[str]
    symmetries: list[list[int]]
    edges: list[list[int]]


@dataclass(frozen=True)
class Film:
    """A video as the file describes it."""

    files: list[str]  # as they are written; several where the video is a list of single images
    single: bool  # whether it is such a list
    dataset: str  # where the images lie inside an HDF5 file; empty for other videos
    cropped: bool
    source: Film | None  # the video that was packed


@dataclass(frozen=True)
class Project:
    """What a SLEAP file holds."""

    skeletons: list[Nodes]  # those of the instances that a person placed, or all where there are no such instances
    films: list[Film]
    entries: list[Entry]


def load(path: Path) -> Project:
    """The contents of a SLEAP file, read in a process of their own, which a damaged file can crash or hang.

    No video is opened. Raises ValueError that names the file for one that is not one or that takes too long, which
    is more than SECONDS and SECONDS_PER_MIB of its size.
    """
    try:
        missing = next((name for name in ("h5py", "sleap_io.io") if find_spec(name) is None), None)
    except ImportError as error:
        missing = str(error)
    if missing is not None:
        raise ValueError(_MISSING.format(missing))
    return sandbox.ask(_READ, path, SECONDS + SECONDS_PER_MIB * path.stat().st_size / 2**20, _project)


def read_here(path: Path) -> Project:
    """The contents of a SLEAP file, read in this process; errors are as those of `load`."""
    h5py, slp, read_table = _libraries()
    name = os.path.abspath(path)  # noqa: PTH100, what sleap-io takes for an address is never absolute
    try:
        with h5py.File(name, "r") as file:
            _check_tables(h5py, file)
            version = float(file["metadata"].attrs["format_id"])
        if version >= _NEWER:
            raise ValueError(f"it is of version {version:g}; save it for version 2")
        skeletons, videos = slp.read_skeletons(name), slp.read_videos(name, open_backend=False)
        frames, rows = read_table(name, "frames"), read_table(name, "instances")
        points, predicted = slp.read_points(name), slp.read_pred_points(name)
        _check_spans("frames", frames, "instance_id", len(rows))
        _check_spans("instances", rows, "point_id", len(points) + len(predicted))
        tracks = slp.read_tracks(name)
        instances = slp.read_instances(name, skeletons, tracks, points, predicted, version)
        used = {
            id(one.skeleton): one.skeleton for one in chain.from_iterable(_shown(frames, instances)) if _is_placed(one)
        }
        return Project(
            [_nodes(one) for one in used.values() or skeletons],
            [_film(video) for video in videos],
            _entries(frames, videos, instances),
        )
    except Exception as error:  # HDF5 and its readers raise nearly anything on a damaged or hostile file
        raise ValueError(f"{path} cannot be read as a SLEAP file: {error}; save it again in SLEAP") from error


def _libraries() -> tuple[Any, Any, Any]:
    try:
        import h5py
        from sleap_io.io import slp
        from sleap_io.io.utils import read_hdf5_dataset
    except ImportError as error:
        raise ValueError(_MISSING.format(error)) from error
    return h5py, slp, read_hdf5_dataset


def _check_tables(h5py: Any, file: Any) -> None:
    """Refuses tables of sizes that would fill the memory, and such as lie in other files of the machine."""
    for name in file:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"its part {name} lies in another place")

    def check(name: str, part: Any) -> None:
        if isinstance(part, h5py.Dataset):
            if part.external or part.is_virtual:
                raise ValueError(f"its table {name} lies in another file")
            if part.nbytes > _BYTES and not name.endswith("/video"):
                raise ValueError(f"its table {name} states {part.nbytes} bytes")

    file.visititems(check)


def _check_spans(table: str, rows: np.ndarray, key: str, count: int) -> None:
    """Refuses rows that share what they refer to, a few of which could stand for endless lists."""
    spans = rows[f"{key}_end"].astype(np.float64) - rows[f"{key}_start"].astype(np.float64)
    if not (spans.clip(0).sum() <= count):
        raise ValueError(f"its {table} refer to more than the file holds")


def _is_placed(instance: Any) -> bool:
    return type(instance).__name__ == "Instance"


def _placed(instance: Any) -> Placed:
    track = "" if instance.track is None else str(instance.track.name)
    return Placed(np.array(instance.numpy(), np.float64), track)


def _nodes(skeleton: Any) -> Nodes:
    names = [str(name) for name in skeleton.node_names]
    return Nodes(names, [[i, j] for i, j in skeleton.symmetry_inds], [[i, j] for i, j in skeleton.edge_inds])


def _film(video: Any) -> Film:
    names = video.backend_metadata.get("filenames")
    files = [str(name) for name in names or [video.filename]]
    dataset = str(video.backend_metadata.get("dataset") or "")
    source = None if video.source_video is None else _film(video.source_video)
    return Film(files, bool(names), dataset, bool(video.backend_metadata.get("crop")), source)


def _shown(frames: np.ndarray, instances: list) -> list[list]:
    """The instances of each frame."""
    spans = zip(frames["instance_id_start"], frames["instance_id_end"], strict=True)
    return [instances[int(start) : int(end)] for start, end in spans]


def _entries(frames: np.ndarray, videos: list, instances: list) -> list[Entry]:
    numbers = [int(number) for number in frames["video"]]
    positions = _positions(set(numbers), videos)
    entries = []
    for number, index, found in zip(numbers, frames["frame_idx"], _shown(frames, instances), strict=True):
        placed = [_placed(instance) for instance in found if _is_placed(instance)]
        entries.append(Entry(positions.get(number, number), int(index), placed, len(found) - len(placed)))
    return entries


def _positions(numbers: set[int], videos: list) -> dict[int, int]:
    """At which place of the list the videos with these numbers stand.

    A package of a few of a project's videos keeps the numbers that these had in the project.
    """
    if len(numbers) == len(videos) == max(numbers, default=0) + 1:
        return {number: number for number in numbers}
    found = {}
    for place, video in enumerate(videos):
        match = re.match(r"video(\d{1,9})/", str(video.backend_metadata.get("dataset") or ""))
        found[int(match[1]) if match else place] = place
    return found


def _project(plain: dict) -> Project:
    """The project that `read_here` made, from the lists and numbers that its process answered."""
    return Project(
        [_plain_nodes(**skeleton) for skeleton in plain["skeletons"]],
        [_plain_film(**film) for film in plain["films"]],
        [_plain_entry(**entry) for entry in plain["entries"]],
    )


def _plain_nodes(names: list, symmetries: list, edges: list) -> Nodes:
    pairs, links = ([[int(i), int(j)] for i, j in some] for some in (symmetries, edges))
    return Nodes([str(name) for name in names], pairs, links)


def _plain_film(files: list, single: bool, dataset: str, cropped: bool, source: dict | None) -> Film:
    origin = None if source is None else _plain_film(**source)
    return Film([str(file) for file in files], bool(single), str(dataset), bool(cropped), origin)


def _plain_entry(video: int, index: int, placed: list[dict], predicted: int) -> Entry:
    found = [Placed(np.array(one["points"], np.float64).reshape(-1, 2), str(one["track"])) for one in placed]
    return Entry(int(video), int(index), found, int(predicted))
