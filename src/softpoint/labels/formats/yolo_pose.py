"""Pose data sets of Ultralytics YOLO: a data.yaml, folders of images, and a text file of labels per image."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from softpoint.images.decode import image_size
from softpoint.images.listing import list_images
from softpoint.images.read_options import ReadOptions
from softpoint.labels.formats.parsing.path_search import Tails, tail_below
from softpoint.labels.formats.parsing.rows import parse_float, read_lines, unlabeled_points
from softpoint.labels.formats.parsing.yolo_config import Config, find_config, read_config
from softpoint.labels.missing import WORDS
from softpoint.labels.row_errors import NothingLeftError, Row, RowErrors
from softpoint.labels.schema import OCCLUDED, UNLABELED, VISIBLE, Labels, Subject
from softpoint.paths import normalize_path
from softpoint.progress import track

DESCRIPTION = "a YOLO data.yaml with kpt_shape, or the folder that holds it"

# Distance from the image, as a fraction of its size, from which a coordinate is an error; Ultralytics' own tolerance.
_TOLERANCE = 0.01

# Folders that describe the layout of the files, not the origin of the images.
_LAYOUT = {"images", "train", "val", "valid", "validation", "test"}

_log = logging.getLogger(__name__)


def recognize(path: Path, head: bytes) -> bool:
    """Return whether this is a YAML file with kpt_shape, or a folder with one.

    >>> recognize(Path("data.yaml"), b"kpt_shape: [17, 3]"), recognize(Path("data.csv"), b"kpt_shape: [17, 3]")
    (True, False)
    """
    if path.suffix.lower() in (".yaml", ".yml") and head:
        return b"kpt_shape" in head
    return not head and find_config(path) is not None


def read(path: Path, errors: RowErrors, images: Path | None = None) -> Labels:
    """Return the labels of a data.yaml, or of the folder that holds it; its folders are below `images` if given.

    Keypoints are x_px = x * width, without half a pixel: tools divide pixel indices by the size. Boxes count from the
    corner of the image, so half a pixel is subtracted. An image without label file is unlabeled. A keypoint is
    unlabeled if its flag is 0; without flags, if a coordinate is negative, as in Ultralytics.
    Raises ValueError for an invalid data.yaml, or if its folders are not found.
    """
    file = (find_config(path) or path / "data.yaml") if path.is_dir() else path
    config = read_config(file)
    root = _root(file, config, images)
    entries = list(_images(root, config, errors))
    groups = {image: group for _, image, group in entries}
    if not groups:
        errors.raise_or_warn()
        raise NothingLeftError(f"{file}: its folders {', '.join(config.entry_names())} below {root} hold no image")
    label_files: dict[Path, list[str]] = {}
    for image in groups:
        label_files.setdefault(_label_file(root, image), []).append(image)
    subjects: list[Subject] = []
    for labels, sharing in track(label_files.items(), "reading labels"):
        with errors.row(Path(os.path.relpath(labels, root)).as_posix(), sharing[0]):
            if len(sharing) > 1 and labels.is_file():
                raise ValueError(f"{' and '.join(sharing)} both have its name; rename one of the two and its labels")
            for image in sharing:
                subjects += _subjects(root, image, labels, groups[image], config, errors)
    if not any(map(Path.is_file, label_files)):
        example = next(iter(label_files))
        raise ValueError(f"{file}: none of its {len(groups)} images has a label file such as {example}; add them")
    unused = {}
    if config.dimensions == 2:
        missing = sum(config.count - int((s.visibility > 0).sum()) for s in subjects if s.category)
        unused["keypoints without a flag that have a coordinate below 0, which YOLO leaves unlabeled"] = missing
    splits = _splits(file, entries)
    return Labels(str(file), str(root), config.skeleton, tuple(subjects), config.categories(), splits, unused)


def _splits(file: Path, entries: list[tuple[str, str, str]]) -> dict[str, str]:
    """Return the split of each image; none at all if an image is in train and in another split."""
    splits: dict[str, str] = {}
    for split, image, _ in entries:
        if {splits.setdefault(image, split), split} == {"val", "test"}:
            splits[image] = "test"  # often one folder serves as both
        elif splits[image] != split:
            _log.warning("%s: %s is in %s and in %s, so its splits are not used", file, image, splits[image], split)
            return {}
    return splits


def _root(file: Path, config: Config, images: Path | None) -> Path:
    """Return the folder of the images; that of the file if `path` is a folder of another machine."""
    roots = [images] if images else [file.parent / config.root, file.parent]
    roots = [Path(os.path.normpath(root)) for root in dict.fromkeys(roots)]
    for root in roots:
        if any(root.is_dir() if _is_root(entry) else tail_below(root, entry) for _, entry in config.entries):
            return root
    raise ValueError(
        f"{file}: {', '.join(config.entry_names())} was not found below {' or '.join(map(str, roots))};"
        " set data.images to the folder that holds it"
    )


def _is_root(entry: str) -> bool:
    return not entry.strip("./\\")


def _images(root: Path, config: Config, errors: RowErrors) -> Iterator[tuple[str, str, str]]:
    """Yield split, path relative to `root` and group of each image."""
    tails = Tails(root, config.entry_names())
    for split, entry in config.entries:
        try:
            place = "." if _is_root(entry) else tails[entry]
        except FileNotFoundError:
            _log.warning("%s: the %s images %s were not found below %s", errors.source, split, entry, root)
            continue
        if place.lower().endswith(".txt"):
            for image in _listed_images(root, place, errors):
                yield split, image, _group(Path(image).parent)
        else:
            try:
                paths = list_images(root / place)
            except (ValueError, OSError) as error:
                _log.warning("%s", error)
                continue
            for path in paths:
                yield split, path.relative_to(root).as_posix(), _group(path.parent.relative_to(root / place))


def _listed_images(root: Path, place: str, errors: RowErrors) -> Iterator[str]:
    """Yield the images in a text file with one path per line."""
    # As in Ultralytics, only a path that begins with ./ is relative to the folder of the list.
    lines = [
        (number, (Path(place).parent / line).as_posix() if line.startswith("./") else line)
        for number, line in read_lines(root / place)
    ]
    tails = Tails(root, [line for _, line in lines])
    for number, line in lines:
        with errors.row(f"{place} line {number}"):
            yield tails[line]


def _group(folder: Path) -> str:
    """Return the group of an image by its folder, without the folders of the layout."""
    return "/".join(part for part in folder.parts if part.lower() not in _LAYOUT)


def _label_file(root: Path, image: str) -> Path:
    """Return the label file of an image: beside it, or in `labels` instead of the last `images`."""
    path = Path(os.path.abspath(root / normalize_path(image)))  # noqa: PTH100, links stay as they are
    head, separator, tail = path.as_posix().rpartition("/images/")
    return Path(f"{head}/labels/{tail}" if separator else path).with_suffix(".txt")


def _subjects(root: Path, image: str, file: Path, group: str, config: Config, errors: RowErrors) -> list[Subject]:
    """Return the subjects of an image, or an unlabeled one if it has no labels."""
    place = Path(os.path.relpath(file, root)).as_posix()
    lines = read_lines(file) if file.is_file() else []
    if not lines:
        return [Subject(image, f"image {image}", *unlabeled_points(len(config.skeleton)), group=group)]
    size = image_size(root / image, ReadOptions("apply"))  # Ultralytics measures an image as it is shown
    subjects = []
    for number, line in lines:
        with errors.row(f"{place} line {number}", image) as row:
            subjects.append(row.usable(partial(_subject, row, group, config, size), line.split(), config.parts, "nan"))
    return subjects


def _subject(row: Row, group: str, config: Config, size: tuple[int, int], cells: list[str]) -> Subject:
    if len(cells) != 5 + config.count * config.dimensions:
        raise ValueError(
            f"it has {len(cells)} numbers; kpt_shape [{config.count}, {config.dimensions}] requires"
            f" {5 + config.count * config.dimensions}: class, box and {config.count} keypoints"
        )
    values = np.array([math.nan if cell.lower() in WORDS else parse_float(cell) for cell in cells])
    number = next((number for number in config.classes if number == values[0]), None)
    if number is None:
        raise ValueError(f"class {cells[0]} is not one of names: {', '.join(map(str, config.classes))}")
    points = values[5:].reshape(config.count, config.dimensions)
    keypoints, visibility = unlabeled_points(len(config.skeleton))
    columns = [config.skeleton.names.index(name) for name in config.keypoints[number]]
    visibility[columns] = _visibility(points)
    labeled = visibility[columns] > 0
    _check_fractions(points[labeled & ~(points[:, :2] < 0).all(axis=1), :2])  # (-1, -1) and the like may be marks
    written = keypoints.copy()
    written[columns] = points[:, :2]
    keypoints[columns] = np.where(labeled[:, None], points[:, :2] * size[::-1], np.nan)
    box = _box(values[1:5], size)
    category = config.classes[number]
    return Subject(row.image, row.place, keypoints, visibility, box, category, group=group, size=size, written=written)


def _visibility(points: np.ndarray) -> np.ndarray:
    """Return the visibility (K,) of points (K, 2 or 3)."""
    if points.shape[1] == 2:
        return np.where((points < 0).any(axis=1) | np.isnan(points).all(axis=1), UNLABELED, VISIBLE)
    flags = np.where(np.isnan(points[:, :2]).all(axis=1), UNLABELED, points[:, 2])
    if not (valid := np.isin(flags, (UNLABELED, OCCLUDED, VISIBLE))).all():
        raise ValueError(f"visibility {flags[~valid][0]:g} is not 0 (unlabeled), 1 (occluded) or 2 (visible)")
    return flags.astype(np.int64)


def _check_fractions(values: np.ndarray) -> None:
    invalid = ~((values >= -_TOLERANCE) & (values <= 1 + _TOLERANCE))
    if invalid.any():
        raise ValueError(f"{values[invalid][0]:g} is not a fraction of the image's size, from 0 to 1")


def _box(values: np.ndarray, size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """Return left, top, right and bottom edge; None for a box without extent, as about points in one line."""
    _check_fractions(values)
    height, width = size
    x, y, w, h = (float(value) for value in values * (width, height, width, height))
    if w < 0 or h < 0:
        raise ValueError(f"its box is {values[2]:g} wide and {values[3]:g} high; both must be 0 or more")
    return (x - w / 2 - 0.5, y - h / 2 - 0.5, x + w / 2 - 0.5, y + h / 2 - 0.5) if w and h else None
