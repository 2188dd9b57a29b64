"""The pose data sets of Ultralytics YOLO: a data.yaml, a folder of images and a text file of labels for each."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from softpoint.images.decode import image_size, list_images
from softpoint.labels.formats.parsing.path_search import tail_below
from softpoint.labels.formats.parsing.yolo_config import Config, read_config, yaml_in
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import OCCLUDED, UNLABELED, VISIBLE, Labels, Subject
from softpoint.labels.split_file import split_name
from softpoint.paths import normalize_path

DESCRIPTION = "a YOLO data.yaml with kpt_shape, or the folder that holds it"

# How far beyond its image a coordinate may lie, as a fraction of the size, before it is taken for one that is
# no fraction at all; Ultralytics' own tolerance.
_TOLERANCE = 0.01

# Folders that say how files are laid out, and nothing of what was filmed.
_LAYOUT = {"images", "train", "val", "valid", "validation", "test"}

_log = logging.getLogger(__name__)


def recognize(path: Path, head: bytes) -> bool:
    """Whether this is one: a YAML file, or a folder with one, that states kpt_shape.

    >>> recognize(Path("data.yaml"), b"kpt_shape: [17, 3]"), recognize(Path("data.csv"), b"kpt_shape: [17, 3]")
    (True, False)
    """
    if path.suffix.lower() in (".yaml", ".yml") and head:
        return b"kpt_shape" in head
    return not head and yaml_in(path) is not None


def read(path: Path, problems: RowErrors, images: Path | None = None) -> Labels:
    """The labels of a data.yaml, or of the folder that holds it, with its folders below `images` if that is given.

    Keypoints are x_px = x * width, without half a pixel: tools divide indices of pixels by the size. Boxes are
    edges counted from the corner, so half a pixel is taken off. An image without label file is one without
    labels. A keypoint is unlabeled with flag 0; where there are no flags, with a negative coordinate, as in
    Ultralytics, or at exactly (0, 0), where tools leave missing ones.
    Raises ValueError for a data.yaml that is not understood or whose folders are not found.
    """
    file = (yaml_in(path) or path / "data.yaml") if path.is_dir() else path
    config = read_config(file)
    root = _root(file, config, images)
    listed = list(_images(root, config, problems))
    found = {image: group for _, image, group in listed}
    if not found:
        problems.raise_or_warn()
        raise ValueError(f"{file}: its folders {', '.join(config.entry_names())} below {root} hold no image")
    subjects: list[Subject] = []
    for image, group in found.items():
        subjects += _subjects(root, image, group, config, problems)
    if not any(_label_file(root, image).is_file() for image in found):
        example = _label_file(root, next(iter(found)))
        raise ValueError(f"{file}: none of its {len(found)} images has a label file; looked for {example} and so on")
    _warn_of_missing(file, config, subjects)
    splits = _stated(file, listed)
    return Labels(str(file), str(root), config.skeleton, tuple(subjects), config.categories(), splits)


def _stated(file: Path, images: list[tuple[str, str, str]]) -> dict[str, str]:
    """The split of each image; none at all where images are in train and elsewhere too."""
    splits: dict[str, str] = {}
    for split, image, _ in images:
        name = split_name(split) or "train"
        if {splits.setdefault(image, name), name} == {"val", "test"}:
            splits[image] = "test"  # often one folder serves as both
        elif splits[image] != name:
            _log.warning("%s: %s is in %s and in %s, so its splits are not used", file, image, splits[image], name)
            return {}
    return splits


def _warn_of_missing(file: Path, config: Config, subjects: list[Subject]) -> None:
    if config.dimensions == 2:
        missing = sum(config.count - int((s.visibility > 0).sum()) for s in subjects if s.category)
        if missing:
            _log.warning("%s: %d keypoints at (0, 0) or below 0 are taken for unlabeled", file, missing)


def _root(file: Path, config: Config, images: Path | None) -> Path:
    """The folder that holds the images; the file's own where `path` is one of another machine."""
    roots = [images] if images else [file.parent / config.root, file.parent]
    roots = [Path(os.path.normpath(root)) for root in dict.fromkeys(roots)]
    for root in roots:
        if any(_below(root, root, entry) for _, entry in config.entries):
            return root
    raise ValueError(
        f"{file}: {', '.join(config.entry_names())} was not found below {' or '.join(map(str, roots))};"
        " set data.images to the folder that holds it"
    )


def _below(root: Path, start: Path, written: str) -> str | None:
    """A written path relative to `root`; one that leads out of it is looked for within."""
    inside = Path(os.path.normpath(start / written))
    if inside.is_relative_to(root) and os.path.exists(inside):  # noqa: PTH110, it answers for any name
        return inside.relative_to(root).as_posix()
    return tail_below(root, written)


def _images(root: Path, config: Config, problems: RowErrors) -> Iterator[tuple[str, str, str]]:
    """Split, path relative to `root` and group of each image."""
    for split, entry in config.entries:
        place = _below(root, root, entry)
        if place is None:
            _log.warning("%s: the %s images %s were not found below %s", problems.source, split, entry, root)
        elif place.lower().endswith(".txt"):
            for image in _listed(root, place, problems):
                yield split, image, _group(Path(image).parent)
        else:
            for path in _image_files(root / place):
                yield split, path.relative_to(root).as_posix(), _group(path.parent.relative_to(root / place))


def _image_files(folder: Path) -> list[Path]:
    try:
        return list_images(folder)
    except (ValueError, OSError) as error:
        _log.warning("%s", error)
        return []


def _listed(root: Path, place: str, problems: RowErrors) -> Iterator[str]:
    """The images that a text file names, one a line."""
    for number, line in _lines(root / place):
        with problems.row(f"{place} line {number}"):
            # As Ultralytics has it, only a path that begins with ./ starts from the list's own folder.
            start = (root / place).parent if line.startswith("./") else root
            image = _below(root, start, line)
            if image is None:
                raise FileNotFoundError(f"image {line} was not found below {root}")
            yield image


def _group(folder: Path) -> str:
    """What an image was taken from, by its folder; the folder of a split says nothing of that."""
    return "/".join(part for part in folder.parts if part.lower() not in _LAYOUT)


def _label_file(root: Path, image: str) -> Path:
    """The text file with the labels of an image: beside it, or in `labels` instead of the last `images`."""
    path = Path(os.path.abspath(root / normalize_path(image)))  # noqa: PTH100, links stay as they are
    head, separator, tail = path.as_posix().rpartition("/images/")
    return Path(f"{head}/labels/{tail}" if separator else path).with_suffix(".txt")


def _lines(path: Path) -> list[tuple[int, str]]:
    """Number and text of each line that is not blank."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as UTF-8 text: {error}") from error
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def _subjects(root: Path, image: str, group: str, config: Config, problems: RowErrors) -> list[Subject]:
    """Those of one image; one without points or box where nothing is labeled."""
    file = _label_file(root, image)
    place = Path(os.path.relpath(file, root)).as_posix()
    lines: list[tuple[int, str]] = []
    size = (0, 0)
    with problems.row(place):
        lines = _lines(file) if file.is_file() else []
        if not lines:
            nothing = np.full((len(config.skeleton), 2), np.nan)
            unlabeled = np.full(len(config.skeleton), UNLABELED, np.int64)
            return [Subject(image, f"image {image}", nothing, unlabeled, group=group)]
        # Ultralytics measures an image as it is shown.
        size = image_size(root / image, exif="apply")
    subjects = []
    for number, line in lines if any(size) else []:
        with problems.row(f"{place} line {number}"):
            subjects.append(_subject(line.split(), image, f"{place} line {number}", group, config, size))
    return subjects


def _subject(cells: list[str], image: str, place: str, group: str, config: Config, size: tuple[int, int]) -> Subject:
    if len(cells) != 5 + config.count * config.dimensions:
        raise ValueError(
            f"has {len(cells)} numbers; kpt_shape [{config.count}, {config.dimensions}] asks for"
            f" {5 + config.count * config.dimensions}: class, box and {config.count} keypoints"
        )
    values = np.array([_number(cell) for cell in cells])
    kind = next((kind for kind in config.classes if kind == values[0]), None)
    if kind is None:
        raise ValueError(f"class {cells[0]} is not one of names: {', '.join(map(str, config.classes))}")
    points = values[5:].reshape(config.count, config.dimensions)
    keypoints = np.full((len(config.skeleton), 2), np.nan)
    visibility = np.full(len(config.skeleton), UNLABELED, np.int64)
    columns = [config.skeleton.names.index(name) for name in config.parts[kind]]
    visibility[columns] = _visibility(points)
    labeled = visibility[columns] > 0
    _check_fractions(points[labeled, :2])
    keypoints[columns] = np.where(labeled[:, None], points[:, :2] * size[::-1], np.nan)
    box = _box(values[1:5], size)
    return Subject(image, place, keypoints, visibility, box, config.classes[kind], group=group, size=size)


def _number(cell: str) -> float:
    # Python reads 1_000 as a number; in a table it is a slip.
    try:
        if "_" not in cell:
            return float(cell)
    except ValueError:
        pass
    raise ValueError(f"{cell[:60]!r} is not a number")


def _visibility(points: np.ndarray) -> np.ndarray:
    """The state of each of the points (K, 2 or 3)."""
    if points.shape[1] == 2:
        missing = (points < 0).any(axis=1) | (points == 0).all(axis=1)
        return np.where(missing, UNLABELED, VISIBLE)
    flags = points[:, 2]
    if not (known := np.isin(flags, (UNLABELED, OCCLUDED, VISIBLE))).all():
        raise ValueError(f"visibility {flags[~known][0]:g} is not 0 (unlabeled), 1 (hidden) or 2 (visible)")
    return flags.astype(np.int64)


def _check_fractions(values: np.ndarray) -> None:
    beyond = ~((values >= -_TOLERANCE) & (values <= 1 + _TOLERANCE))
    if beyond.any():
        raise ValueError(f"{values[beyond][0]:g} is not a fraction of the image's size, from 0 to 1")


def _box(values: np.ndarray, size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """Left, top, right and bottom edge; None where it has no extent, as about points in one line."""
    _check_fractions(values)
    height, width = size
    x, y, w, h = (float(value) for value in values * (width, height, width, height))
    if w < 0 or h < 0:
        raise ValueError(f"its box is {values[2]:g} wide and {values[3]:g} high")
    return (x - w / 2 - 0.5, y - h / 2 - 0.5, x + w / 2 - 0.5, y + h / 2 - 0.5) if w and h else None
