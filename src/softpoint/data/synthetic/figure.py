"""Scenes of dolls, one or several, that are occluded by themselves, by each other and by rods."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from softpoint.data.scenes import NO_BOXES, Scene
from softpoint.data.sources import NO_PIXELS
from softpoint.data.synthetic import canvas
from softpoint.data.synthetic.doll import SKELETON, Doll, dressed, pose, put
from softpoint.data.synthetic.raster import Capsule, Part, covers, mask

# Most subjects of an image.
MAX_SUBJECTS = 100

# Of several dolls: a place is found where boxes overlap less than this, as a fraction of the smaller one, and none
# is covered so far that less of it is seen, within so many tries.
_OVERLAP, LEAST_SEEN, _TRIES = 0.5, 0.3, 20


class Figure:
    """Scenes with one doll that faces the viewer, so that its left hand is at the image's right, or with several.

    The two sleeves differ, to connect a hand with its shoulder, but either may be on either side, so that a mirrored
    image with the flip pairs swapped is again a valid one.

    Args:
        difficulty: 0 for a plain background, 1 for heavy clutter.
        subjects: least and most dolls of an image; None for one.
        scale: of several, smallest and largest longer side of a doll, as fractions of the image's shorter one.

    Raises ValueError for a difficulty outside [0, 1], subjects or a scale that are no range or leave dolls no room,
    and a size below 32 px.

    >>> scene = Figure(difficulty=0.2).draw(np.random.default_rng(0), (48, 64))
    >>> scene.image.shape, scene.keypoints.shape, len(Figure().skeleton.flip_pairs)
    ((48, 64, 3), (13, 2), 5)
    >>> Figure(0.2, subjects=(2, 2)).draw_scene(np.random.default_rng(0), (256, 256)).keypoints.shape
    (2, 13, 2)
    """

    skeleton = SKELETON

    def __init__(
        self, difficulty: float = 0.5, subjects: Sequence[int] | None = None, scale: Sequence[float] = (0.2, 0.45)
    ) -> None:
        self.difficulty = canvas.check_difficulty(difficulty)
        self.scale = _check_scale(scale)
        self.subjects = None if subjects is None else _check_subjects(subjects, self.scale)

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> canvas.Scene:
        """Return one scene with one doll, of size (height, width) in px, a function of the state of `rng`."""
        image = self._background(rng, size)
        joints, (extent, *place) = pose(rng, self.difficulty)
        doll = dressed(rng, *put(joints, (0.5 + 0.3 * extent) * min(size), size, place), self.difficulty)
        doll.paint(image)
        rods = canvas.occluders(rng, size, self.difficulty)
        canvas.cover(rng, image, rods)
        visibility = doll.visibility(rods)
        return canvas.Scene(canvas.photograph(rng, image, self.difficulty), doll.keypoints, visibility)

    def draw_scene(self, rng: np.random.Generator, size: tuple[int, int], painted: bool = True) -> Scene:
        """Return one scene with several dolls, of size (height, width) in px, a function of the state of `rng`.

        Every doll lies wholly in the image, and its box is that of all of it, seen or not. At least 30 % of its pixels
        are seen: one that is covered further is placed again, and left out where no place is found. Its points are
        occluded where itself, another doll or a rod is in front of them. Without `painted`, the image is empty.
        """
        assert self.subjects is not None
        rods = canvas.occluders(rng, size, self.difficulty)
        dolls = self._dolls(rng, size, rods)
        visibility = [_behind(doll, dolls[depth:], rods) for depth, doll in enumerate(dolls, 1)]
        order = rng.permutation(len(dolls))  # so that the order of the subjects says nothing of their depth
        return Scene(
            self._paint(rng, size, dolls, rods) if painted else NO_PIXELS,
            size,
            np.array([doll.keypoints for doll in dolls]).reshape(-1, len(SKELETON), 2)[order],
            np.array(visibility, np.int64).reshape(-1, len(SKELETON))[order],
            np.array([doll.box for doll in dolls]).reshape(-1, 4)[order],
            NO_BOXES,
            "synthetic",
        )

    def _paint(
        self, rng: np.random.Generator, size: tuple[int, int], dolls: Sequence[Doll], rods: list[Capsule]
    ) -> np.ndarray:
        """Return an image of dolls from back to front, behind rods."""
        image = self._background(rng, size)
        for doll in dolls:
            doll.paint(image)
        canvas.cover(rng, image, rods)
        return canvas.photograph(rng, image, self.difficulty)

    def _background(self, rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
        image = canvas.background(rng, size, self.difficulty)
        canvas.distract(rng, image, self.difficulty)
        return image

    def _dolls(self, rng: np.random.Generator, size: tuple[int, int], rods: Sequence[Part]) -> list[Doll]:
        """Return the dolls of a scene from back to front, each of which is seen."""
        assert self.subjects is not None
        dolls: list[Doll] = []
        for _ in range(int(rng.integers(self.subjects[0], self.subjects[1] + 1))):
            dolls.insert(int(rng.integers(len(dolls) + 1)), self._beside(rng, size, dolls))
        for _ in range(_TRIES):
            hidden = np.flatnonzero(seen_fractions(dolls, rods, size) < LEAST_SEEN).tolist()
            if not hidden:
                return dolls
            for i in hidden:
                dolls[i] = self._beside(rng, size, [*dolls[:i], *dolls[i + 1 :]])
        return [doll for doll, seen in zip(dolls, seen_fractions(dolls, rods, size), strict=True) if seen >= LEAST_SEEN]

    def _beside(self, rng: np.random.Generator, size: tuple[int, int], others: Sequence[Doll]) -> Doll:
        """Return a doll where it overlaps others little: at the first place that will do, or the best of some."""
        joints, (extent, *first) = pose(rng, self.difficulty)
        side = (self.scale[0] + (self.scale[1] - self.scale[0]) * extent) * min(size)
        boxes = np.array([doll.box for doll in others]).reshape(-1, 4)
        chosen, least = put(joints, side, size, first), np.inf
        for place in [first, *rng.random((_TRIES - 1, 2)).tolist()]:
            placed = put(joints, side, size, place)
            overlap = _overlap(np.array([*placed[0].values()]), boxes)
            if overlap < least:
                chosen, least = placed, overlap
            if overlap < _OVERLAP:
                break
        return dressed(rng, *chosen, self.difficulty)


def seen_fractions(dolls: Sequence[Doll], rods: Sequence[Part], size: tuple[int, int]) -> np.ndarray:
    """Return which fraction (N,) of each doll's pixels is seen, of dolls from back to front behind rods."""
    covered, fractions = mask(rods, size), []
    for doll in reversed(dolls):
        own = mask(doll.parts, size)
        fractions.append(1 - float((own & covered).sum()) / max(int(own.sum()), 1))
        covered |= own
    return np.array(fractions[::-1])


def _behind(doll: Doll, front: Sequence[Doll], rods: Sequence[Part]) -> np.ndarray:
    """Return the visibility (K,) of a doll's keypoints behind other dolls and rods."""
    visibility, box = doll.visibility([]), doll.box
    near = [other for other in front if (other.box[:2] < box[2:]).all() and (other.box[2:] > box[:2]).all()]
    for part in [*rods, *(part for other in near for part in other.parts)]:
        visibility[covers(part, doll.keypoints)] = 1
    return visibility


def _overlap(points: np.ndarray, boxes: np.ndarray) -> float:
    """Return the largest part of the smaller box that the box about points (K, 2) shares with one of the boxes."""
    low, high = points.min(0), points.max(0)
    shared = (np.minimum(high, boxes[:, 2:]) - np.maximum(low, boxes[:, :2])).clip(0).prod(1)
    smaller = np.minimum((high - low).prod(), (boxes[:, 2:] - boxes[:, :2]).prod(1))
    return float((shared / smaller).max(initial=0))


def _check_scale(scale: Sequence[float]) -> tuple[float, float]:
    low, high = scale if isinstance(scale, Sequence) and len(scale) == 2 else (0, 0)
    if not 0 < low <= high <= 0.8:
        raise ValueError(
            f"scene.scale={scale}: give the smallest and largest side of a doll as fractions of the image's shorter"
            " side, at most 0.8, such as [0.2,0.45]"
        )
    return float(low), float(high)


def _check_subjects(subjects: Sequence[int], scale: tuple[float, float]) -> tuple[int, int]:
    example = "give the least and most subjects of an image, such as scene.subjects=[0,8]"
    shown = list(subjects) if isinstance(subjects, Sequence) and not isinstance(subjects, str) else subjects
    if not isinstance(shown, list) or len(shown) != 2 or not all(type(number) is int for number in shown):
        raise ValueError(f"scene.subjects={shown}: {example}")
    low, high = shown
    if not 0 <= low <= high or not 1 <= high <= MAX_SUBJECTS:
        raise ValueError(f"scene.subjects={shown}: {example}; both from 0 to {MAX_SUBJECTS}, and the most at least 1")
    area = (scale[0] ** 2 + scale[0] * scale[1] + scale[1] ** 2) / 3  # the mean of the square on average
    if high * area > 2:
        raise ValueError(
            f"scene.subjects={shown}: dolls of scene.scale={list(scale)} have room for {int(2 / area)}; set fewer, or"
            f" a smaller scale: at {high}, a mean side of {(2 / high) ** 0.5:.2g}"
        )
    return low, high
