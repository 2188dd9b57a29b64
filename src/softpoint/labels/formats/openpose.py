"""OpenPose: a folder with NAME_keypoints.json for each image, the points of all people in it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.images.video import VIDEO_SUFFIXES
from softpoint.labels.formats.parsing import json_values
from softpoint.labels.formats.parsing.known_skeletons import numbered
from softpoint.labels.formats.parsing.path_search import announce, folders_near, image_of_stem
from softpoint.labels.formats.parsing.rows import check_count, unlabeled_points, usual_count, visibility_of
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton, infer_flip_pairs
from softpoint.progress import track

DESCRIPTION = "a folder with NAME_keypoints.json of each image NAME, or of each frame of a video (OpenPose)"

_TRIED = 50  # files that decide on a folder
_ENDING = "_keypoints.json"
_POINTS, _OLD_POINTS = "pose_keypoints_2d", "pose_keypoints"  # the second before version 1.3
_OTHER_POINTS = ("face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d")
_ARMS = "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist"
_COCO = f"{_ARMS} RHip RKnee RAnkle LHip LKnee LAnkle REye LEye REar LEar"
_BODY_25 = (
    f"{_ARMS} MidHip RHip RKnee RAnkle LHip LKnee LAnkle REye LEye REar LEar LBigToe LSmallToe LHeel RBigToe RSmallToe"
    " RHeel"
)
_NAMES = {len(names.split()): tuple(names.split()) for names in (_COCO, _BODY_25)}


def recognize(path: Path, head: bytes) -> bool:
    """Return whether this is a folder with such files."""
    try:
        return path.is_dir() and any(path.glob(f"*{_ENDING}"))
    except OSError:
        return False


def read(path: Path, errors: RowErrors, images: Path | None = None) -> Labels:
    """Return the people of every file; a point of confidence 0 is unlabeled, and other confidences are not used.

    25 points have the names of BODY_25 and 18 those of COCO, others are keypoint_1 and so on. The image of
    x_keypoints.json is x with any suffix of an image, or frame 12 of the video v where x is v_000000000012, in `images`
    or near the files. Points of face and hands are counted in `unused`.
    Raises ValueError for a folder without such points.
    """
    files = sorted(path.glob(f"*{_ENDING}"))
    folder = images or _folder(path, files)
    unused: Counter[str] = Counter()
    people: list[tuple[str, str, np.ndarray | None]] = []
    for file in track(files, "reading labels"):
        with errors.row(file.name) as row:
            row.image = image = json_values.as_text(_image(folder, file), "image")
            content = json_values.as_object(json_values.load_json(file))
            entries = json_values.as_list(content.get("people"), "people")
            found = [(f"{file.name} person {i}", image, _points(e, unused)) for i, e in enumerate(entries, 1)]
            own = [person for person in found if person[2] is not None]
            unused["people without points of the body"] += len(found) - len(own)
            people += own or [(file.name, image, None)]
    missing = f"{path}: none of its files has a person with {_POINTS}; run OpenPose with write_json"
    count = usual_count((len(points) for *_, points in people if points is not None), errors, missing)
    subjects = []
    for place, image, points in people:
        with errors.row(place, image):
            keypoints = unlabeled_points(count)[0] if points is None else points
            check_count(len(keypoints), count)
            subjects.append(Subject(image, place, keypoints, visibility_of(keypoints)))
    names = _NAMES.get(count) or numbered(count)
    return Labels(str(path), str(folder), Skeleton(names, infer_flip_pairs(names)), tuple(subjects), unused=unused)


def _image(folder: Path, file: Path) -> str:
    """Return the image in a folder that a file is of, or the frame of the only video; ValueError for none."""
    stem = file.name.removesuffix(_ENDING)
    try:
        return image_of_stem(folder, stem)
    except ValueError:
        clip, _, number = stem.rpartition("_")
        videos = [clip + suffix for suffix in VIDEO_SUFFIXES if (folder / (clip + suffix)).is_file()]
        if len(videos) != 1 or not number.isdecimal():
            raise
        return f"{videos[0]}/{int(number):06d}"


def _folder(path: Path, files: Sequence[Path]) -> Path:
    """Return the folder of the files, or where none of their images is there the one near it that has most."""

    def found(folder: Path) -> int:
        count = 0
        for file in files[:_TRIED]:
            with suppress(ValueError):
                count += bool(_image(folder, file))
        return count

    best = path if found(path) else max([path, *folders_near(path)], key=found)
    if best != path:
        announce(path, best)
    return best


def _points(entry: Any, unused: Counter[str]) -> np.ndarray | None:
    """Return float64 (K, 2) of a person, NaN for confidence 0; None for one of whom face or hands alone are found."""
    person = json_values.as_object(entry)
    for key in _OTHER_POINTS:
        values = person.get(key)
        unused[f"points in {key}"] += sum(bool(c) for c in values[2::3]) if isinstance(values, list) else 0
    values = json_values.as_list(person.get(_POINTS, person.get(_OLD_POINTS)), _POINTS)
    if not values:
        return None
    count = json_values.check_keypoint_count(len(values) // 3)
    points = json_values.as_numbers(values, _POINTS, 3 * count).reshape(-1, 3)
    points[~(points[:, 2] > 0)] = math.nan
    if np.isinf(points).any() or (np.isnan(points[:, 0]) != np.isnan(points[:, 1])).any():
        raise ValueError(f"{_POINTS} {json_values.quote(values)} must be finite x, y and confidence of each point")
    return points[:, :2]
