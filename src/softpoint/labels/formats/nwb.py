"""Training frames of ndx-pose in a file of Neurodata Without Borders (NWB)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from softpoint.extras import require
from softpoint.images.listing import SUFFIXES
from softpoint.labels.formats.parsing import json_values, sandbox
from softpoint.labels.formats.parsing.hdf5 import part_of
from softpoint.labels.formats.parsing.path_search import Tails, best_folder, folders_near
from softpoint.labels.formats.parsing.rows import unlabeled_points
from softpoint.labels.row_errors import NothingLeftError, RowErrors
from softpoint.labels.schema import OCCLUDED, UNLABELED, VISIBLE, Labels, Subject
from softpoint.labels.skeleton import MAX_KEYPOINTS, Skeleton, infer_flip_pairs

DESCRIPTION = "a file *.nwb with training frames of ndx-pose"

_SECONDS, _SECONDS_PER_MIB = 60.0, 1.0  # of reading a file


class _Video(NamedTuple):
    files: list[str]
    starts: list[int]  # number of the first frame of each file


class _Frame(NamedTuple):
    video: _Video
    number: int
    instances: list[tuple[tuple[str, ...], np.ndarray, np.ndarray]]  # names, points (K, 2), states (K,)
    edges: tuple[tuple[str, str], ...]


def recognize(path: Path, head: bytes) -> bool:
    """Return whether this is an HDF5 file named *.nwb.

    >>> recognize(Path("a.nwb"), b"\\x89HDF\\r\\n\\x1a\\n"), recognize(Path("a.h5"), b"\\x89HDF\\r\\n\\x1a\\n")
    (True, False)
    """
    return path.suffix.lower() == ".nwb" and head.startswith(b"\x89HDF\r\n\x1a\n")


def read(path: Path, errors: RowErrors, images: Path | None = None) -> Labels:
    """Return the skeleton instances of all training frames, coordinates as written.

    A node without location is unlabeled, one with a location that is not visible is occluded. An image is the external
    file of a frame, or a frame of it where that is a video, and its group is the video. The file is read in a separate
    process. Poses that a model estimated (PoseEstimation) are no labels.
    Raises ValueError for a file without training frames, or with several skeletons.
    """
    require("h5py", "nwb", str(path))
    seconds = _SECONDS + _SECONDS_PER_MIB * path.stat().st_size / 2**20
    return sandbox.read_labels(__name__, path, errors, images, seconds)


def read_in_process(path: Path, errors: RowErrors, images: Path | None) -> Labels:
    """Return the labels as `read` does, in this process."""
    import h5py

    frames: list[tuple[str, _Frame]] = []
    try:
        with h5py.File(path, "r") as file:
            for place, entry in _training_frames(file):
                with errors.row(place):
                    frames.append((place, _frame(entry)))
    except Exception as error:  # HDF5 raises nearly anything on a damaged file
        raise ValueError(f"{path} cannot be read as ndx-pose: {error}") from error
    skeletons = {names: frame.edges for _, frame in frames for names, *_ in frame.instances}
    if len(skeletons) != 1:
        errors.raise_or_warn()
        raise NothingLeftError(
            f"{path} has {len(frames)} training frames (PoseTraining) with {len(skeletons)} skeletons; it must have one"
        )
    ((names, edges),) = skeletons.items()
    written = [name for _, frame in frames for name in frame.video.files]
    tails = Tails(best_folder([images] if images else folders_near(path), written), written)
    subjects: list[Subject] = []
    for place, frame in sorted(frames, key=lambda entry: (entry[1].video.files[:1], entry[1].number)):
        with errors.row(place):
            subjects += _subjects(place, frame, tails, len(names))
    skeleton = Skeleton(names, infer_flip_pairs(names), edges)
    return Labels(str(path), str(tails.folder), skeleton, tuple(subjects))


def _training_frames(file: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and group of each training frame."""
    processing = part_of(file, "processing")
    for module in processing:
        for name in part_of(processing, module):
            part = part_of(part_of(processing, module), name)
            if part.attrs.get("neurodata_type") == "PoseTraining":
                frames = part_of(part, "training_frames")
                yield from ((frame, part_of(frames, frame)) for frame in frames)


def _frame(entry: Any) -> _Frame:
    source = part_of(entry, "source_video")
    files = part_of(source, "external_file")
    names = [json_values.as_text(_text(name), "external_file").replace("\\", "/") for name in files[()]]
    starts = [int(start) for start in np.atleast_1d(files.attrs.get("starting_frame", range(len(names))))]
    if len(starts) != len(names) or not names:
        raise ValueError(f"its source video has {len(names)} external files and {len(starts)} starting frames")
    instances: list[tuple[tuple[str, ...], np.ndarray, np.ndarray]] = []
    edges: tuple[tuple[str, str], ...] = ()
    group = part_of(entry, "skeleton_instances")
    for key in group:
        instance = part_of(group, key)
        parts = [part_of(instance, name) for name in instance]
        skeleton = next((part for part in parts if part.attrs.get("neurodata_type") == "Skeleton"), None)
        if skeleton is None:
            raise ValueError(f"its instance {key} has no Skeleton; link it to one")
        nodes, edges = _skeleton(skeleton)
        instances.append((nodes, *_points(instance, len(nodes))))
    return _Frame(_Video(names, starts), int(entry.attrs["source_video_frame_index"]), instances, edges)


def _skeleton(group: Any) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    nodes = tuple(json_values.as_text(_text(name), "node") for name in part_of(group, "nodes")[()])
    if len(nodes) > MAX_KEYPOINTS:
        raise ValueError(f"its skeleton has {len(nodes)} nodes; at most {MAX_KEYPOINTS} are read")
    pairs = part_of(group, "edges")[()].reshape(-1, 2).tolist() if "edges" in group else []
    return nodes, tuple((nodes[int(i)], nodes[int(j)]) for i, j in pairs if max(i, j) < len(nodes))


def _points(instance: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the points (K, 2) and states (K,) of an instance."""
    table = part_of(instance, "node_locations")
    if table.shape != (count, 2):
        raise ValueError(f"node_locations has the shape {table.shape}, but its skeleton {count} nodes")
    points = np.array(table[()], np.float64)
    if np.isinf(points).any():
        raise ValueError("a coordinate is infinite")
    points[np.isnan(points).any(axis=1)] = np.nan
    seen = np.ones(count, bool)
    if "node_visibility" in instance and (flags := part_of(instance, "node_visibility")).shape == (count,):
        seen = np.array(flags[()], bool)
    return points, np.where(np.isnan(points[:, 0]), UNLABELED, np.where(seen, VISIBLE, OCCLUDED)).astype(np.int64)


def _subjects(place: str, frame: _Frame, tails: Tails, count: int) -> list[Subject]:
    files, starts = frame.video
    index = bisect_right(starts, frame.number) - 1
    if index < 0 or frame.number < 0:
        raise ValueError(f"its source video has no frame {frame.number}")
    image, group = tails[files[index]], None
    if PurePosixPath(image).suffix.lower() not in SUFFIXES:
        image, group = f"{image}/{frame.number - starts[index]:06d}", files[index]
    if not frame.instances:
        return [Subject(image, place, *unlabeled_points(count), group=group)]
    return [
        Subject(image, f"{place} instance {number}", points, states, group=group)
        for number, (_, points, states) in enumerate(frame.instances, 1)
    ]


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
