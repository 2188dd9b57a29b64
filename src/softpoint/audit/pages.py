"""Pages of labeled images: what the labels say, and what is suspicious about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

import numpy as np

from softpoint.audit import Example, Finding
from softpoint.audit.coordinate_conventions import CONVENTIONS
from softpoint.functional.coordinates import grid_to_image
from softpoint.labels.schema import Labels
from softpoint.paths import normalize_path
from softpoint.viz.grid import contact_sheet
from softpoint.viz.image_ops import letterbox, resize
from softpoint.viz.overlay import draw_keypoints
from softpoint.viz.text import draw_text, fit_text, text_size

# Opens an image by its name in the labels; raises ValueError or FileNotFoundError where it cannot.
Read = Callable[[str], np.ndarray]

_TILE, _PANE = (420, 560), (420, 278)  # height and width of a tile, and of half of one
_CAPTION = 14.0  # pixels of a capital letter
_NAMED = 24  # keypoints up to which names are written
_PAPER = 128  # around an image whose points lie outside


def page_of_labels(labels: Labels, read: Read, count: int = 12) -> np.ndarray | None:
    """A page uint8 (H, W, 3) of up to `count` images, evenly chosen, with all their labels drawn.

    Images that cannot be read are passed over; None where there is no other.
    """
    images = list(dict.fromkeys(s.image for s in labels.subjects if (s.visibility > 0).any()))
    chosen = (
        [images[i] for i in np.unique(np.linspace(0, len(images) - 1, count).round().astype(int))] if images else []
    )
    shown = {image: pixels for image in chosen if (pixels := _opened(read, image)) is not None}
    if not shown:
        return None
    tall = float(np.median([pixels.shape[0] / pixels.shape[1] for pixels in shown.values()]))
    size = (round(_TILE[1] * float(np.clip(tall, 0.4, 1.6))), _TILE[1])
    tiles = [_whole(pixels, labels, image, size) for image, pixels in shown.items()]
    return contact_sheet(tiles, 3, titles=list(shown))


def page_of_findings(labels: Labels, read: Read, findings: Sequence[Finding], each: int = 4) -> np.ndarray | None:
    """A page uint8 (H, W, 3) of the first `each` examples of every finding that can be shown; None for none."""
    tiles, titles = [], []
    for finding in findings:
        shown = 0
        for example in finding.examples[: 4 * each]:
            if shown < each and (tile := _example(labels, read, finding, example)) is not None:
                tiles.append(_captioned(tile, example.value))
                titles.append(f"{finding.kind}: {PurePosixPath(normalize_path(example.image)).name}")
                shown += 1
    return contact_sheet(tiles, 3, titles=titles) if tiles else None


def _captioned(tile: np.ndarray, words: str) -> np.ndarray:
    """The tile over a line of text."""
    bar = np.full((text_size("Ag", _CAPTION)[1] + 4, tile.shape[1], 3), 255, np.uint8)
    draw_text(bar, fit_text(words, tile.shape[1], _CAPTION), (0, 0), _CAPTION, (30, 30, 30))
    return np.concatenate([tile, bar])


def _opened(read: Read, image: str) -> np.ndarray | None:
    try:
        return read(image)
    except (ValueError, FileNotFoundError):
        return None


def _example(labels: Labels, read: Read, finding: Finding, example: Example) -> np.ndarray | None:
    """One tile: the subject from near, or two images side by side."""
    pixels = _opened(read, example.image) if example.image else None
    if pixels is None:
        return None
    if finding.kind == "coordinate_convention" and example.subject is not None:
        points = labels.subjects[example.subject].keypoints
        conventions = (CONVENTIONS["as given"][0], CONVENTIONS[example.value][0])
        return _pair(
            *(_with_points(pixels, convert(points, *pixels.shape[:2]), labels, _PANE) for convert in conventions)
        )
    if example.other and (other := _opened(read, example.other)) is not None:
        return _pair(_whole(pixels, labels, example.image, _PANE), _whole(other, labels, example.other, _PANE))
    return None if example.subject is None else _near(pixels, labels, example.subject, example.keypoints)


def _pair(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    gap = np.full((_TILE[0], _TILE[1] - 2 * _PANE[1], 3), 255, np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def _whole(pixels: np.ndarray, labels: Labels, image: str, size: tuple[int, int]) -> np.ndarray:
    """A tile with all subjects of an image."""
    rows = [i for i, other in enumerate(labels.images) if normalize_path(other) == normalize_path(image)]
    return _with_points(pixels, labels.keypoints[rows], labels, size)


def _near(pixels: np.ndarray, labels: Labels, row: int, suspects: Sequence[int]) -> np.ndarray:
    """A tile about one subject and its surroundings, with a ring around each suspicious point."""
    subject = labels.subjects[row]
    corners = np.array(subject.box).reshape(2, 2) if subject.box else np.empty((0, 2))
    about = np.concatenate([subject.keypoints[np.isfinite(subject.keypoints).all(1)], corners])
    if not len(about):
        return letterbox(pixels, _TILE, _PAPER)
    part, origin = _cut(pixels, about)
    return _with_points(part, (subject.keypoints - origin)[None], labels, _TILE, suspects)


def _cut(pixels: np.ndarray, about: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of an image that holds all points `about` (N, 2), with some room, and its origin (2,) as (x, y).

    It may reach beyond the image by half its size, and shows paper there.
    """
    size = np.array(pixels.shape[1::-1])
    low, high = np.clip(about.min(0), -size / 2, size), np.clip(about.max(0), 0, 1.5 * size)
    room = max(0.4 * float((high - low).max()), 24.0)
    # Paper only where points lie on it.
    start = np.maximum(np.floor(low - room), np.minimum(np.floor(low - 8), 0)).astype(int)
    stop = np.minimum(np.ceil(high + room), np.maximum(np.ceil(high + 8), size)).astype(int)
    start, stop = np.where(low >= 0, np.maximum(start, 0), start), np.where(high < size, np.minimum(stop, size), stop)
    canvas = np.full((stop[1] - start[1], stop[0] - start[0], 3), _PAPER, np.uint8)
    from_, to = np.maximum(start, 0), np.minimum(stop, size)
    x, y = from_ - start
    seen = pixels[from_[1] : to[1], from_[0] : to[0]]
    canvas[y : y + seen.shape[0], x : x + seen.shape[1]] = seen
    return canvas, start.astype(float)


def _with_points(
    pixels: np.ndarray, keypoints: np.ndarray, labels: Labels, size: tuple[int, int], suspects: Sequence[int] = ()
) -> np.ndarray:
    """A tile of an image with the points (K, 2) or (N, K, 2) of its subjects."""
    points = keypoints.reshape(-1, len(labels.skeleton), 2)
    # Drawn at the size of the tile, so that marks and names stay legible.
    height, width = pixels.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    canvas = resize(pixels, (max(1, round(height * scale)), max(1, round(width * scale))))
    points = grid_to_image(points, canvas.shape[1] / width)
    far = (np.abs(points) > 2 * max(size)).any(axis=2, keepdims=True)  # off the tile, and too far to be drawn to
    points = np.where(far, np.nan, points)
    marked = np.zeros(len(labels.skeleton), bool)
    marked[list(suspects)] = True
    named = len(points) == 1 and len(labels.skeleton) <= _NAMED
    for pose in points:
        canvas = draw_keypoints(canvas, pose, skeleton=labels.skeleton, truth=pose, mask=marked, names=named, upscale=1)
    return letterbox(canvas, size, _PAPER)
