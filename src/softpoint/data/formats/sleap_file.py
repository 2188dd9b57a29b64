"""The tables of a SLEAP file, read by sleap-io after a look at what an untrusted file must not do."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Tables larger than this are not those of labels; HDF5 can state any size in a few bytes.
_BYTES = 1 << 30

# From this version on the tables have another layout.
_NEWER = 3.0


@dataclass(frozen=True)
class Entry:
    """A frame as the file lists it; its instances are those of sleap-io."""

    video: int
    index: int
    placed: list  # by a person
    predicted: int  # how many others there are


@dataclass(frozen=True)
class Project:
    """What a SLEAP file holds; skeletons and videos are those of sleap-io."""

    skeletons: list
    videos: list
    entries: list[Entry]


def load(path: Path) -> Project:
    """The contents of a SLEAP file; no video is opened. ValueError that names the file for one that is not one."""
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
        return Project(skeletons, videos, _entries(frames, videos, instances))
    except Exception as error:  # HDF5 and its readers raise nearly anything on a damaged or hostile file
        raise ValueError(f"{path} cannot be read as a SLEAP file: {error}; save it again in SLEAP") from error


def _libraries() -> tuple[Any, Any, Any]:
    try:
        import h5py
        from sleap_io.io import slp
        from sleap_io.io.utils import read_hdf5_dataset
    except ImportError as error:
        raise ValueError(f'SLEAP files are read by sleap-io ({error}); pip install -e ".[sleap]"') from error
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


def _entries(frames: np.ndarray, videos: list, instances: list) -> list[Entry]:
    numbers = [int(number) for number in frames["video"]]
    positions = _positions(set(numbers), videos)
    spans = zip(frames["instance_id_start"], frames["instance_id_end"], strict=True)
    entries = []
    for number, index, (start, end) in zip(numbers, frames["frame_idx"], spans, strict=True):
        found = instances[int(start) : int(end)]
        placed = [instance for instance in found if type(instance).__name__ == "Instance"]
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
