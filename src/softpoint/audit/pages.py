"""Pages of labeled images: a sample of all labels, and examples of each finding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

import numpy as np

from softpoint.audit import Example, Finding
from softpoint.audit.coordinate_conventions import CONVENTIONS
from softpoint.labels.partition import evenly_spaced
from softpoint.labels.schema import Labels
from softpoint.paths import normalize_path
from softpoint.viz import contact_sheet, crop_around, draw_tile
from softpoint.viz.text import caption

# Opens an image by its name in the labels; raises ValueError or FileNotFoundError where it cannot.
Read = Callable[[str], np.ndarray]

_TILE, _HALF = (420, 560), (420, 278)  # height and width of a tile, and of one of two side by side
_CAPTION = 14.0  # pixels of a capital letter
_MAX_NAMES = 24  # keypoints up to which names are written


def page_of_labels(labels: Labels, read: Read, count: int = 12) -> np.ndarray | None:
    """Return a page uint8 (H, W, 3) of up to `count` evenly spaced images with all their labels.

    Images that cannot be read are left out; None where no image is left.
    """
    images = list(dict.fromkeys(s.image for s in labels.subjects if (s.visibility > 0).any()))
    if not images:
        return None
    chosen = [images[i] for i in evenly_spaced(len(images), count)]
    opened = {name: image for name in chosen if (image := _open(read, name)) is not None}
    if not opened:
        return None
    shape = float(np.median([image.shape[0] / image.shape[1] for image in opened.values()]))
    size = (round(_TILE[1] * float(np.clip(shape, 0.4, 1.6))), _TILE[1])
    tiles = [_all_subjects(image, labels, name, size) for name, image in opened.items()]
    return contact_sheet(tiles, 3, titles=list(opened))


def page_of_findings(labels: Labels, read: Read, findings: Sequence[Finding], each: int = 4) -> np.ndarray | None:
    """Return a page uint8 (H, W, 3) of the first `each` examples of every finding; None where none can be drawn.

    Titles begin with the number of the example in the printed report.
    """
    tiles, titles = [], []
    for number, finding in enumerate(findings, 1):
        drawn = 0
        for i, example in enumerate(finding.examples[: 4 * each], 1):
            if drawn < each and (tile := _draw_example(labels, read, finding, example)) is not None:
                name = PurePosixPath(normalize_path(example.image)).name
                titles.append(f"{number}.{i} {finding.kind}: {name}")
                tiles.append(caption(tile, example.value, _CAPTION, above=False))
                drawn += 1
    return contact_sheet(tiles, 3, titles=titles) if tiles else None


def _open(read: Read, name: str) -> np.ndarray | None:
    try:
        return read(name)
    except (ValueError, FileNotFoundError):
        return None


def _draw_example(labels: Labels, read: Read, finding: Finding, example: Example) -> np.ndarray | None:
    """Return a tile of the surroundings of a subject, or of two images side by side."""
    image = _open(read, example.image) if example.image else None
    if image is None:
        return None
    if finding.kind == "coordinate_convention" and example.subject is not None:
        points = labels.keypoints[example.subject]
        conventions = (CONVENTIONS["as given"][0], CONVENTIONS[example.value][0])
        return _pair(*(_draw(image, convert(points, *image.shape[:2])[None], labels, _HALF) for convert in conventions))
    if example.other and (other := _open(read, example.other)) is not None:
        halves = ((image, example.image), (other, example.other))
        return _pair(*(_all_subjects(pixels, labels, name, _HALF) for pixels, name in halves))
    return None if example.subject is None else _draw_near(image, labels, example.subject, example.keypoints)


def _pair(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    gap = np.full((_TILE[0], _TILE[1] - 2 * _HALF[1], 3), 255, np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def _all_subjects(image: np.ndarray, labels: Labels, name: str, size: tuple[int, int]) -> np.ndarray:
    """Return a tile with all subjects of an image."""
    path = normalize_path(name)
    rows = [i for i, other in enumerate(labels.paths) if other == path]
    return _draw(image, labels.keypoints[rows], labels, size)


def _draw_near(image: np.ndarray, labels: Labels, row: int, suspects: Sequence[int]) -> np.ndarray:
    """Return a tile of one subject and its surroundings, with a ring around each suspicious point."""
    subject = labels.subjects[row]
    corners = np.array(subject.box).reshape(2, 2) if subject.box else np.empty((0, 2))
    points = np.concatenate([subject.keypoints[np.isfinite(subject.keypoints).all(1)], corners])
    crop, origin = crop_around(image, points) if len(points) else (image, np.zeros(2))
    return _draw(crop, (subject.keypoints - origin)[None], labels, _TILE, suspects)


def _draw(
    image: np.ndarray, keypoints: np.ndarray, labels: Labels, size: tuple[int, int], suspects: Sequence[int] = ()
) -> np.ndarray:
    """Return a tile of an image with the keypoints (N, K, 2) of its subjects, suspicious ones in a ring."""
    ringed = np.where(np.isin(np.arange(len(labels.skeleton)), suspects)[:, None], keypoints, np.nan)
    names = len(keypoints) == 1 and len(labels.skeleton) <= _MAX_NAMES
    return draw_tile(image, keypoints, size, labels.skeleton, truth=ringed, names=names)
