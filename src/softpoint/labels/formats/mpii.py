"""MPII Human Pose: HRNet's JSON lists of people, and the MATLAB file of the set."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.labels.formats.parsing import json_values, sandbox
from softpoint.labels.formats.parsing.known_skeletons import MPII, numbered, skeleton_of
from softpoint.labels.formats.parsing.mat_size import check_mat
from softpoint.labels.formats.parsing.path_search import Tails, best_folder, folders_near
from softpoint.labels.formats.parsing.rows import check_count, unlabeled_points, usual_count
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import OCCLUDED, UNLABELED, VISIBLE, Labels, Subject

DESCRIPTION = "a JSON list with joints and joints_vis (HRNet's MPII) or joint_self (CPM's), or mpii_human_pose_*.mat"

_MAT = b"MATLAB 5.0 MAT-file"
_SECONDS, _SECONDS_PER_MIB = 60.0, 10.0  # of reading a MATLAB file, which is compressed
_PIXELS = 200  # the height of a person of scale 1

_Entry = dict[str, Any]


def recognize(path: Path, head: bytes) -> bool:
    """Return whether the file begins with a list of people, or as MATLAB's do.

    >>> recognize(Path(), b'[{"joints_vis": [1], "joints": [[1, 2]], "image": "a.jpg"}]')
    True
    """
    if head.startswith(_MAT):
        return True
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
    if start and b'"joints"' in head and b'"joints_vis"' in head:
        return True
    return b'"joint_self"' in head and b'"img_paths"' in head


def read(path: Path, errors: RowErrors, images: Path | None = None) -> Labels:
    """Return a subject per person; the box is the square of the person's scale about the center.

    The first pixel of an image is 1 in these files, so 1 is subtracted. A joint with joints_vis 0 is unlabeled; in the
    other files one that is not visible is occluded. In CPM's JSON, whose list may be `root` of an object, a joint at
    (0, 0) or of state 2 is unlabeled, and isValidation states the split. In the MATLAB file a group is a video, and
    images without any joint, those of the test set, are left out. 16 joints have MPII's names, others numbers. A MATLAB
    file is read in a separate process.
    Raises ValueError for a file without joints.
    """
    with path.open("rb") as file:
        matlab = file.read(len(_MAT)) == _MAT
    if matlab:
        seconds = _SECONDS + _SECONDS_PER_MIB * path.stat().st_size / 2**20
        return sandbox.read_labels(__name__, path, errors, images, seconds)
    try:
        content = json_values.load_json(path)
        content = content.get("root") if isinstance(content, dict) else content
        entries = json_values.as_list(content, "the list of people")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    unused: Counter[str] = Counter()
    people: list[Subject] = []
    splits: dict[str, str] = {}  # of the people of CPM's JSON
    for number, entry in enumerate(entries, 1):
        place = f"entry number {number}"
        with errors.row(place):
            fields = json_values.as_object(entry)
            people.append(_person_of_cpm(fields, place) if "joint_self" in fields else _person(fields, place, unused))
            if "isValidation" in fields:
                splits[place] = "val" if fields["isValidation"] else "train"
    labels = _labels(path, people, errors, images, unused)
    return replace(
        labels,
        splits={
            image: splits[place] for image, place in zip(labels.images, labels.places, strict=True) if place in splits
        },
    )


def _person(entry: _Entry, place: str, unused: Counter[str]) -> Subject:
    """Return a person of HRNet's JSON."""
    if "joints" not in entry:
        raise ValueError("it has no joints, as in MPII's test set; name the file that has them")
    joints = json_values.as_list(entry["joints"], "joints")
    states = json_values.as_numbers(
        entry.get("joints_vis"), "joints_vis", json_values.check_keypoint_count(len(joints))
    )
    points = np.array([json_values.as_numbers(xy, "a joint", 2) for xy in joints]).reshape(-1, 2)
    labeled = states > 0
    if not np.isfinite(points[labeled]).all() or not np.isin(states, (0, 1)).all():
        raise ValueError("a joint has no finite x and y, or joints_vis is neither 0 nor 1; correct it")
    unused["points with coordinates but visibility 0"] += int((points[~labeled] > 0).any(axis=1).sum())
    center = json_values.as_numbers(entry.get("center", [math.nan] * 2), "center", 2).tolist()
    scale = json_values.as_number(entry.get("scale", 0), "scale")
    image = json_values.as_text(entry.get("image"), "image").replace("\\", "/")
    return _subject(image, place, points, np.where(labeled, VISIBLE, UNLABELED), (*center, scale))


def _person_of_cpm(entry: _Entry, place: str) -> Subject:
    """Return a person of CPM's JSON, whose joints are x, y and whether they are visible."""
    joints = json_values.as_list(entry["joint_self"], "joint_self")
    json_values.check_keypoint_count(len(joints))
    points = np.array([json_values.as_numbers(xyv, "a joint", 3) for xyv in joints]).reshape(-1, 3)
    if not np.isfinite(points).all() or not np.isin(points[:, 2], (0, 1, 2)).all():
        raise ValueError("a joint of joint_self is not x, y, and 0, 1 or 2; correct it")
    labeled = points[:, :2].any(axis=1) & (points[:, 2] < 2)
    states = np.where(labeled, np.where(points[:, 2] > 0, VISIBLE, OCCLUDED), UNLABELED)
    center = json_values.as_numbers(entry.get("objpos", [math.nan] * 2), "objpos", 2).tolist()
    scale = json_values.as_number(entry.get("scale_provided", 0), "scale_provided")
    image = json_values.as_text(entry.get("img_paths"), "img_paths").replace("\\", "/")
    return _subject(image, place, points[:, :2], states, (*center, scale))


def _subject(
    image: str, place: str, points: np.ndarray, states: np.ndarray, extent: Sequence[float], group: str | None = None
) -> Subject:
    """Return a subject from joints (K, 2) that count from 1, their states, and x, y and scale of the person."""
    written = np.where(states[:, None] > 0, points, np.nan)
    x, y, scale = extent
    half = scale * _PIXELS / 2
    box = None
    if math.isfinite(x + y) and half > 0:
        edges = [edge - 0.5 for edge in (x - half, y - half, x + half, y + half)]  # from the corner of the image
        box = json_values.box_from_corners(edges, list(extent))
    return Subject(image, place, written - 1, states.astype(np.int64), box, group=group, written=written)


def _labels(path: Path, people: list[Subject], errors: RowErrors, images: Path | None, unused: Counter[str]) -> Labels:
    labeled = people if any(person.visibility.any() for person in people) else []
    missing = f"{path}: none of its people has a joint; name the file of the training set"
    count = usual_count((len(person.keypoints) for person in labeled), errors, missing)
    written = [person.image for person in people]
    tails = Tails(best_folder([images] if images else folders_near(path), written), written)
    subjects = []
    for person in people:
        with errors.row(person.place, person.image):
            check_count(len(person.keypoints), count, "joints")
            person.image = tails[person.image]
            subjects.append(person)
    names = MPII if count == len(MPII) else numbered(count)
    return Labels(str(path), str(tails.folder), skeleton_of(names), tuple(subjects), unused=dict(unused))


def read_in_process(path: Path, errors: RowErrors, images: Path | None) -> Labels:
    """Return the labels of a MATLAB file, in this process."""
    from scipy.io import loadmat

    check_mat(path)
    try:
        release = loadmat(path, simplify_cells=True, variable_names=["RELEASE"]).get("RELEASE")
    except Exception as error:  # the reader raises nearly anything on a damaged file
        raise ValueError(f"{path} cannot be read as a MATLAB file: {error}; copy it again") from error
    if not isinstance(release, dict) or "annolist" not in release:
        raise ValueError(f"{path} has no RELEASE.annolist, so it is not MPII's; convert it to CSV")
    unused: Counter[str] = Counter()
    people: list[Subject] = []
    for number, image in enumerate(_structs(release["annolist"]), 1):
        with errors.row(f"annolist {number}"):
            people += _people(image, f"annolist {number}", unused)
    return _labels(path, people, errors, images, unused)


def _structs(value: Any) -> list[_Entry]:
    """Return the structures of an array, which MATLAB stores as one where there is one."""
    entries = value.ravel().tolist() if isinstance(value, np.ndarray) else value
    return [entry for entry in (entries if isinstance(entries, list) else [entries]) if isinstance(entry, dict)]


def _people(image: _Entry, place: str, unused: Counter[str]) -> Iterator[Subject]:
    """Yield the people of an image that have joints."""
    name = next((entry.get("name") for entry in _structs(image.get("image"))), None)
    video = _float(image.get("vididx"))
    group = f"video {video:g}" if math.isfinite(video) else None
    people = _structs(image.get("annorect"))
    joints = [[j for p in _structs(person.get("annopoints")) for j in _structs(p.get("point"))] for person in people]
    unused["people without joints"] += sum(not own for own in joints)
    for number, (person, own) in enumerate(zip(people, joints, strict=True), 1):
        if own:
            center = next(iter(_structs(person.get("objpos"))), {})
            extent = [_float(value) for value in (center.get("x"), center.get("y"), person.get("scale"))]
            path = json_values.as_text(name, "image.name").replace("\\", "/")
            yield _subject(path, f"{place} person {number}", *_joints(own), extent, group)


def _joints(joints: Sequence[_Entry]) -> tuple[np.ndarray, np.ndarray]:
    """Return the points (16, 2), counted from 1, and their states."""
    points, states = unlabeled_points(len(MPII))
    for joint in joints:
        number, x, y = (_float(joint.get(key)) for key in ("id", "x", "y"))
        if number not in range(len(MPII)) or not math.isfinite(x + y):
            raise ValueError(f"a joint has id {number:g}, x {x:g} and y {y:g}; an id is 0 to 15")
        points[int(number)] = x, y
        states[int(number)] = OCCLUDED if str(joint.get("is_visible")) == "0" else VISIBLE
    return points, states


def _float(value: Any) -> float:
    """Return a number, NaN for an empty array."""
    return float(value) if isinstance(value, int | float | np.integer | np.floating) else math.nan
