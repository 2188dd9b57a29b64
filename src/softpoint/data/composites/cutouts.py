"""Subjects cut out of labeled images by masks that no label gives: estimates, soft at their edges.

Where a camera stands still, the mask is the difference from the background, which is the median of the images of its
group; elsewhere it is the hull of the labeled points, widened and feathered, within the box.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, TypeVar

import cv2
import numpy as np

from softpoint.data.sources import LabeledImages, Record
from softpoint.labels.partition import evenly_spaced
from softpoint.suggest import check_choice

MASKS = ("auto", "background", "hull")

# A background is the median of up to so many images, of at least so many, in most of which at most this fraction of
# the pixels outside of subjects differs from it by more than so many levels.
_MOST, _FEWEST, _MOVING, _LEVELS = 31, 8, 0.05, 25.0
# A subject differs from the background by at least this fraction of the difference of its points' surroundings, and by
# so many levels; its window is its box, enlarged by this fraction of the longer side on each side.
_LEAST, _DIFFERENT, _REACH = 0.25, 12.0, 1.5
# Its pixels blend with the background within a rim, a fraction of the root of its area.
_RIM = 0.06
# Of a hull: how far it is widened, and feathered, as fractions of the geometric mean of the box's sides.
_WIDENED, _FEATHER = 0.14, 0.04

Window = tuple[int, int, int, int]  # left, top, right, bottom of whole pixels, the last two exclusive
K, V = TypeVar("K", bound=Hashable), TypeVar("V")


class Cutout(NamedTuple):
    """A subject and the pixels that belong to it; coordinates are those of the image that it was cut out of."""

    paint: np.ndarray  # float32 (h, w, C + 1): levels times coverage, and the coverage in [0, 1] as the last channel
    corner: tuple[int, int]  # x and y of the first pixel
    keypoints: np.ndarray  # float64 (K, 2)
    visibility: np.ndarray  # int64 (K,)
    box: np.ndarray  # float64 (4,)
    behind: np.ndarray | None  # uint8 (h, w, C), the background there; None where it is not known
    whole: bool  # it touches no border of its image, and no other subject


class Cutter:
    """Cutouts of the subjects of labeled crops.

    Args:
        crops: subjects, each with a box.
        mask: "background", "hull", or "auto" for the first where the camera of a group stands still.
    """

    def __init__(self, crops: LabeledImages, mask: str = "auto") -> None:
        check_choice("data.composite.mask", mask, MASKS)
        assert crops.boxes is not None
        self.crops, self.mask = crops, mask
        self.rows: dict[str, list[int]] = {}  # of the subjects of each image
        self.groups: dict[str, list[int]] = {}  # of the subjects of each group
        for row, (path, group) in enumerate(zip(crops.labels.paths, crops.groups, strict=True)):
            self.rows.setdefault(path, []).append(row)
            self.groups.setdefault(group, []).append(row)
        self._cutouts: dict[int, Cutout | None] = {}
        self._backgrounds: dict[str, np.ndarray | None] = {}

    def cut(self, row: int) -> Cutout | None:
        """Return the subject of a row; None where its mask is empty or its image cannot be read."""
        return _kept(self._cutouts, row, self._cut, 64)

    def background(self, group: str) -> np.ndarray | None:
        """Return the background (H, W, C) of the images of a group; None where they have no common one."""
        return _kept(self._backgrounds, group, self._background, 8)

    def _cut(self, row: int) -> Cutout | None:
        record = self.crops.load(0, row)
        if record.error or record.box is None:
            return None
        background = self.background(record.group) if self.mask != "hull" else None
        if background is not None and background.shape != record.image.shape:
            background = None
        if self.mask == "background" and background is None:
            raise ValueError(
                f"data.composite.mask=background: the images of group {record.group!r} have no common background:"
                f" a camera that stands still, and {_FEWEST} images of it; set data.composite.mask=auto"
            )
        cutout = None if background is None else _by_difference(record, background)
        if cutout is None:
            cutout = _by_hull(record)
        return cutout if cutout is None or self._is_alone(cutout, row) else cutout._replace(whole=False)

    def _is_alone(self, cutout: Cutout, row: int) -> bool:
        """Return whether no other subject of the image has its box in that of a row, or a point on its pixels."""
        assert self.crops.boxes is not None
        box, cover = cutout.box, cutout.paint[..., -1]
        for i in self.rows[self.crops.labels.paths[row]]:
            other, points = self.crops.boxes[i], self.crops.labels.keypoints[i] - cutout.corner
            if i == row:
                continue
            if (other[:2] < box[2:]).all() and (other[2:] > box[:2]).all():
                return False
            if (cover[_dots(points[np.isfinite(points).all(1)], cover.shape) > 0] > 0.5).any():
                return False
        return True

    def _background(self, group: str) -> np.ndarray | None:
        firsts = {self.crops.labels.paths[row]: row for row in reversed(self.groups[group])}
        if len(firsts) < _FEWEST:
            return None
        images = [[*firsts][i] for i in evenly_spaced(len(firsts), _MOST)]
        records = [self.crops.load(0, firsts[image]) for image in images]
        if len({record.image.shape for record in records}) > 1 or any(record.error for record in records):
            return None
        assert self.crops.boxes is not None
        boxes = [self.crops.boxes[self.rows[image]] for image in images]
        return static_background([record.image for record in records], boxes)


def _by_difference(record: Record, background: np.ndarray) -> Cutout | None:
    """Return a subject before a background; None where nothing there differs."""
    left, top, right, bottom = window = _window(record, _REACH)
    image, behind = record.image[top:bottom, left:right], background[top:bottom, left:right]
    cover = difference_cover(record, window, image, behind)
    # The background's part of the pixels at the edge is taken off.
    painted = image - (1 - cover[..., None]) * behind.astype(np.float32)
    return _cutout(record, window, painted * (cover[..., None] > 0), cover, behind)


def _by_hull(record: Record) -> Cutout | None:
    """Return a subject within the hull of its points; None where that is empty."""
    left, top, right, bottom = window = _window(record, 0.1)
    cover = hull_cover(record, window)
    return _cutout(record, window, record.image[top:bottom, left:right] * cover[..., None], cover, None)


def _cutout(
    record: Record, window: Window, painted: np.ndarray, cover: np.ndarray, behind: np.ndarray | None
) -> Cutout | None:
    if record.box is None or not cover.max(initial=0) > 0.5:
        return None
    (left, top, right, bottom), (height, width) = window, record.size
    edges = [(left == 0, cover[:, 0]), (top == 0, cover[0]), (right == width, cover[:, -1])]
    cut = any(at and edge.max() > 0.5 for at, edge in [*edges, (bottom == height, cover[-1])])
    paint = np.dstack([painted, cover])
    return Cutout(paint, (left, top), record.keypoints, record.visibility, record.box, behind, not cut)


def _kept(cache: dict[K, V], key: K, make: Callable[[K], V], most: int) -> V:
    """Return the value of a key, made anew unless it is among the last ones that were."""
    if key not in cache:
        while len(cache) >= most:
            del cache[next(iter(cache))]
        cache[key] = make(key)
    return cache[key]


def static_background(images: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> np.ndarray | None:
    """Return the background of images (H, W, C) in `boxes` (N, 4) of which subjects move; None where it moves, too.

    It is the median of the images, outside of the boxes where any image shows a pixel so.
    """
    free = [_outside(image.shape[:2], own) for image, own in zip(images, boxes, strict=True)]
    background = _median(np.stack(images), np.stack(free))
    moving = [
        float((difference(image, background) > _LEVELS)[outside].mean()) if outside.any() else 1.0
        for image, outside in zip(images, free, strict=True)
    ]
    return background if np.median(moving) <= _MOVING else None


def difference(image: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Return the largest difference (H, W) of the channels of two images (H, W, C), in levels."""
    return np.asarray(np.abs(image.astype(np.float32) - background).max(-1))


def difference_cover(record: Record, window: Window, image: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Return which part of each pixel in a window (left, top, right, bottom) is of the subject, by its difference.

    `image` and `behind` (h, w, C) are the window of the image and of the background. A pixel near the edge belongs to
    the subject by as much as its difference is of the largest one beside it.
    """
    gap = difference(image, behind)
    smooth = cv2.GaussianBlur(gap, (0, 0), 1.0)
    near = cv2.dilate(_dots(_points_in(record, window), gap.shape), np.ones((7, 7), np.uint8)) > 0
    near &= smooth > _DIFFERENT
    if not near.any():
        return np.zeros(gap.shape, np.float32)
    different = smooth > max(_DIFFERENT, _LEAST * float(np.median(smooth[near])))
    own = _with(different, near)
    brighter = image.sum(-1, dtype=np.float32) > behind.sum(-1, dtype=np.float32)
    usual = float(brighter[own].mean())
    if not 0.05 < usual < 0.95:  # a glint beside a dark subject is none of it
        own, gap = own & (brighter == (usual > 0.5)), np.where(brighter == (usual > 0.5), gap, 0)
    rim = max(2, round(_RIM * float(np.sqrt(own.sum()))))
    thin = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * (rim // 2) + 1,) * 2)
    opened = cv2.morphologyEx(own.astype(np.uint8), cv2.MORPH_OPEN, thin) > 0  # without lines that lead away
    solid = _filled((_with(opened, near) if (opened & near).any() else own).astype(np.uint8))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim + 1, 2 * rim + 1))
    core = cv2.GaussianBlur(cv2.erode(solid, disc).astype(np.float32), (0, 0), rim / 2)
    share = gap / np.maximum(cv2.dilate(smooth, disc), 1)
    reach = cv2.GaussianBlur(cv2.dilate(solid, np.ones((5, 5), np.uint8)).astype(np.float32), (0, 0), 1.5)
    return np.asarray(np.maximum(share.clip(0, 1), core) * (2 * reach - 1).clip(0, 1), np.float32)


def hull_cover(record: Record, window: Window) -> np.ndarray:
    """Return which part of each pixel in a window is of the subject: the widened hull of its points within its box.

    With fewer than two points, the ellipse that fills the box.
    """
    assert record.box is not None
    left, top, right, bottom = window
    points = _points_in(record, window)
    low, high = record.box[:2] - (left, top), record.box[2:] - (left, top)
    side = float(np.sqrt((high - low).prod()))
    y, x = np.mgrid[: bottom - top, : right - left].astype(np.float32)
    feather = max(1.0, _FEATHER * side)
    center, half = (low + high) / 2, (high - low) / 2
    inside = np.minimum.reduce([x - low[0], high[0] - x, y - low[1], high[1] - y])
    if len(points) < 2:
        inside = (1 - np.hypot((x - center[0]) / half[0], (y - center[1]) / half[1])) * half.min()
    else:
        away = np.ones((bottom - top, right - left), np.uint8)
        hull = cv2.convexHull(points.round().astype(np.int32))
        cv2.fillConvexPoly(away, hull, 0)
        cv2.polylines(away, [hull], True, 0, 1)
        distance = cv2.distanceTransform(away, cv2.DIST_L2, 5)
        inside = np.minimum(inside, _WIDENED * side - distance)
    return np.asarray((inside / feather).clip(0, 1), np.float32)


def _window(record: Record, reach: float) -> Window:
    """Return left, top, right and bottom of the whole pixels about a box, enlarged by a fraction of its longer side."""
    assert record.box is not None
    low, high = record.box[:2], record.box[2:]
    margin = reach * float((high - low).max())
    left, top = np.floor(low - margin).clip(0).astype(int).tolist()
    right, bottom = np.minimum(np.ceil(high + margin) + 1, record.size[::-1]).astype(int).tolist()
    return left, top, right, bottom


def _points_in(record: Record, window: Window) -> np.ndarray:
    """Return the labeled points (N, 2) of a record in pixels of a window."""
    labeled = np.isfinite(record.keypoints).all(1) & (record.visibility > 0)
    return np.asarray(record.keypoints[labeled] - window[:2])


def _dots(points: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Return an image (H, W) with the pixels of the points set."""
    image = np.zeros(size, np.uint8)
    columns, rows = points.round().astype(int).T.reshape(2, -1)
    within = (columns >= 0) & (rows >= 0) & (columns < size[1]) & (rows < size[0])
    image[rows[within], columns[within]] = 1
    return image


def _with(mask: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Return the connected parts of a mask (H, W) that hold a pixel of `near`."""
    _, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return np.asarray(np.isin(parts, np.unique(parts[near & mask])) & mask)


def _filled(mask: np.ndarray) -> np.ndarray:
    """Return a mask uint8 (H, W) without its small holes, of up to a fiftieth of its area."""
    holes, labels, stats, _ = cv2.connectedComponentsWithStats(1 - mask, connectivity=4)
    small = [i for i in range(1, holes) if stats[i, cv2.CC_STAT_AREA] <= mask.sum() / 50]
    return np.where(np.isin(labels, small) & (mask == 0), 1, mask).astype(np.uint8)


def _outside(size: tuple[int, ...], boxes: np.ndarray) -> np.ndarray:
    """Return the pixels, bool (H, W), that are in none of the boxes, enlarged by half of their longer sides."""
    outside = np.ones(size, bool)
    for box in boxes:
        margin = (box[2:] - box[:2]).max() / 2
        left, top = np.floor(box[:2] - margin).clip(0).astype(int)
        right, bottom = np.ceil(box[2:] + margin + 1).clip(0).astype(int)
        outside[top:bottom, left:right] = False
    return outside


def _median(stack: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Return the lower median (H, W, C) of images (N, H, W, C) where they are `free` (N, H, W); else of all."""
    free = free | ~free.any(0)
    last = np.iinfo(np.uint16).max
    ordered = np.sort(np.where(free[..., None], stack, last).astype(np.uint16), axis=0)
    middle = (free.sum(0) - 1) // 2
    return np.asarray(np.take_along_axis(ordered, middle[None, ..., None], 0)[0], stack.dtype)
