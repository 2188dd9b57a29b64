"""Predictions of any tool, from files like those of labels, with the confidence of each point if there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from softpoint.labels.detections import load, names_by_id
from softpoint.labels.formats import check_exists, read_labels, recognize, results_json, sleap
from softpoint.labels.formats.parsing.known_skeletons import numbered
from softpoint.labels.formats.parsing.rows import parse_float, read_lines
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import UNLABELED, VISIBLE, Labels, Subject
from softpoint.labels.skeleton import Skeleton
from softpoint.paths import normalize_path


def read_predictions(
    path: Path,
    names: Sequence[str],
    images: Path | None = None,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    coco: Path | None = None,
) -> Labels:
    """Return the predictions in a file or folder: a subject per predicted one, with its confidence where it has one.

    A format that names no keypoint, such as COCO's results, has those of `names` in this order, where it has as many.
    Of a SLEAP file these are the predicted instances. A folder of text files is that of Ultralytics' `save_txt`, whose
    fractions are of `sizes`, height and width by the name of the image without suffix. Ids of images are those of the
    COCO file `coco`, or of NAME_images.json beside NAME.json. Raises FileNotFoundError and
    ValueError as `read_labels` does.
    """
    check_exists(path)
    errors = RowErrors(str(path))
    if path.is_dir() and (files := _text_files(path)):
        return _of_yolo(path, files, names, sizes or {})
    if (kind := recognize(path)) == "sleap":
        labels = sleap.read(path, errors, images, __name__)
        errors.raise_or_warn()
        if not len(labels):
            raise ValueError(f"{path} has no predicted instance; predict in SLEAP and save the project")
    elif kind == "results_json":
        labels = results_json.read(path, errors, images, image_ids(path, coco))
        errors.raise_or_warn()
    else:
        labels = read_labels(path, images=images)
    if len(labels.skeleton) == len(names) and labels.skeleton.names == numbered(len(names)):
        return replace(labels, skeleton=Skeleton(tuple(names)))
    return labels


def image_ids(path: Path, coco: Path | None) -> dict[int | str, str]:
    """Return the path of each image by its id; empty where neither file has them."""
    for file in (path.with_name(f"{path.stem}_images.json"), coco):
        if file is not None and file.is_file() and file.suffix.lower() == ".json":
            return names_by_id(load(file), "images", f"{file}: ")
    return {}


def read_in_process(path: Path, errors: RowErrors, images: Path | None) -> Labels:
    """Return the predicted instances of a SLEAP file, in the process that `labels.formats.sleap` starts."""
    return sleap.read_in_process(path, errors, images, predicted=True)


def _text_files(folder: Path) -> list[Path]:
    """Return the text files of predictions; none where the folder is that of a labeled set."""
    if any(folder.glob("*.yaml")):
        return []
    found = next((files for place in (folder, folder / "labels") if (files := sorted(place.glob("*.txt")))), [])
    return [file for file in found if file.name != "classes.txt"]


def _of_yolo(folder: Path, files: Sequence[Path], names: Sequence[str], sizes: Mapping[str, tuple[int, int]]) -> Labels:
    errors, subjects, foreign = RowErrors(str(folder)), list[Subject](), 0
    for file in files:
        if (size := sizes.get(file.stem)) is None:
            foreign += 1
            continue
        for number, line in read_lines(file):
            with errors.row(f"{file.name} line {number}"):
                subjects.append(_yolo_subject(file, number, line.split(), len(names), size))
    errors.raise_or_warn()
    if not subjects:
        raise ValueError(
            f"{folder}: none of its {len(files)} text files has the name of an image, such as {files[0].name}"
        )
    return Labels(str(folder), str(folder), Skeleton(tuple(names)), tuple(subjects), unused={"other images": foreign})


def _yolo_subject(file: Path, number: int, cells: Sequence[str], count: int, size: tuple[int, int]) -> Subject:
    """Return a line of class, box and x, y, confidence of each keypoint, perhaps with the box's confidence last."""
    if len(cells) not in (5 + 3 * count, 6 + 3 * count):
        raise ValueError(
            f"it has {len(cells)} numbers; predictions of {count} keypoints have {5 + 3 * count}: class, box, and x, y"
            " and confidence of each keypoint"
        )
    points = np.array([parse_float(cell) for cell in cells[5 : 5 + 3 * count]]).reshape(count, 3)
    absent = ~np.isfinite(points).all(1) | ~(points[:, 2] > 0)
    keypoints = np.where(absent[:, None], np.nan, points[:, :2] * size[::-1])
    visibility = np.where(absent, UNLABELED, VISIBLE)
    return Subject(file.stem, f"{file.name} line {number}", keypoints, visibility, confidence=points[:, 2])


def stem_of(image: str) -> str:
    """Return the name of an image without folder and suffix.

    >>> stem_of("a/b\\\\img 1.png")
    'img 1'
    """
    return PurePosixPath(normalize_path(image)).stem
