"""Labeled and found subjects of images: the table from which every number about finding them can be computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from softpoint.data.scenes import Scene
from softpoint.labels.skeleton import Skeleton
from softpoint.types import FoundSubjects


class LabeledSubjects(NamedTuple):
    """N labeled subjects, in pixels of their ORIGINAL images."""

    keypoints: np.ndarray  # float64 (N, K, 2), NaN where unlabeled
    visibility: np.ndarray  # int64 (N, K): 0 unlabeled, 1 occluded, 2 visible, -1 absent
    boxes: np.ndarray  # float64 (N, 4): left, top, right, bottom


@dataclass(frozen=True, eq=False)
class SubjectResults:
    """I images with N labeled and D found subjects and M crowds; those of an image follow each other."""

    images: list[str]
    groups: list[str]  # video, session or person
    size: np.ndarray  # int64 (I, 2), height and width
    complete: np.ndarray  # bool (I,): every subject is labeled, or in a crowd
    skeleton: Skeleton
    labeled: LabeledSubjects
    labeled_in: np.ndarray  # int64 (N,), the image of each, ascending
    found: FoundSubjects  # float64 (D, ...); of an image the likeliest first
    found_in: np.ndarray  # int64 (D,), ascending
    crowds: np.ndarray  # float64 (M, 4), boxes in which nothing is known about subjects
    crowds_in: np.ndarray  # int64 (M,), ascending
    has_groups: bool = False  # other images than these are of other groups; the CSV does not keep it

    def __post_init__(self) -> None:
        K = len(self.skeleton)
        for owner, parts in (
            (self.labeled_in, {"keypoints": (K, 2), "visibility": (K,), "boxes": (4,)}),
            (self.found_in, {"keypoints": (K, 2), "confidence": (K,), "covariance": (K, 2, 2), "boxes": (4,)}),
        ):
            rows = self.labeled if owner is self.labeled_in else self.found
            for name, shape in parts.items():
                assert getattr(rows, name).shape == (len(owner), *shape), (name, getattr(rows, name).shape)
        assert self.crowds.shape == (len(self.crowds_in), 4), self.crowds.shape
        assert all((np.diff(owner) >= 0).all() for owner in (self.labeled_in, self.found_in, self.crowds_in))
        assert len(self.images) == len(self.groups) == len(self.size) == len(self.complete)

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def of(
        cls, rows: Iterable[tuple[str, Scene, FoundSubjects]], skeleton: Skeleton, has_groups: bool = False
    ) -> SubjectResults:
        """Return results of images by their names, with what is labeled and what is found in each.

        Of equal scores the order is that of their boxes, so that it matters nowhere in which order they were found.
        Raises ValueError for an image without a name of its own, and for what is found at no finite place.
        """
        given = list(rows)
        names, scenes = [name for name, _, _ in given], [scene for _, scene, _ in given]
        if len(set(names)) < len(names):
            repeated = next(name for i, name in enumerate(names) if name in names[:i])
            raise ValueError(f"{repeated} is evaluated twice; give each image once, with all of its subjects")
        finds = [_ordered(_checked(name, found)) for name, _, found in given]
        return cls(
            images=names,
            groups=[scene.group for scene in scenes],
            size=np.array([scene.size for scene in scenes], np.int64).reshape(-1, 2),
            complete=np.array([scene.complete for scene in scenes], bool),
            skeleton=skeleton,
            labeled=_all_labeled(scenes, len(skeleton)),
            labeled_in=_owners([len(scene.keypoints) for scene in scenes]),
            found=_all_found(finds, len(skeleton)),
            found_in=_owners([len(found.score) for found in finds]),
            crowds=_joined([scene.crowds for scene in scenes], (4,)),
            crowds_in=_owners([len(scene.crowds) for scene in scenes]),
            has_groups=has_groups,
        )

    def scene(self, image: int) -> Scene:
        """Return what is labeled in an image, without its pixels."""
        rows, crowds = rows_of(self.labeled_in, image), rows_of(self.crowds_in, image)
        height, width = self.size[image].tolist()
        return Scene(
            image=np.empty((0, 0, 3), np.uint8),
            size=(height, width),
            keypoints=self.labeled.keypoints[rows],
            visibility=self.labeled.visibility[rows],
            boxes=self.labeled.boxes[rows],
            crowds=self.crowds[crowds],
            group=self.groups[image],
            complete=bool(self.complete[image]),
        )

    def found_subjects(self, image: int) -> FoundSubjects:
        """Return what is found in an image."""
        return select_found(self.found, rows_of(self.found_in, image))

    def select(self, images: Iterable[int]) -> SubjectResults:
        """Return these images alone, in this order."""
        chosen = [int(i) for i in images]
        rows = ((self.images[i], self.scene(i), self.found_subjects(i)) for i in chosen)
        return self.of(rows, self.skeleton, self.has_groups)

    @classmethod
    def concat(cls, parts: Sequence[SubjectResults]) -> SubjectResults:
        """Return the images of several results; ValueError for none, for other keypoints, and for an image twice."""
        if not parts:
            raise ValueError("there are no results to join")
        if len({part.skeleton.names for part in parts}) > 1:
            raise ValueError("results of other keypoints cannot be joined; evaluate the same keypoints")
        rows = [(part.images[i], part.scene(i), part.found_subjects(i)) for part in parts for i in range(len(part))]
        return cls.of(rows, parts[0].skeleton, any(part.has_groups for part in parts))

    def with_groups(self, groups: Sequence[str]) -> SubjectResults:
        """Return the results with other groups of the images."""
        return replace(self, groups=list(groups), has_groups=False)


def rows_of(owners: np.ndarray, image: int) -> slice:
    """Return the rows that an image has of those whose images are `owners`, ascending."""
    return slice(*np.searchsorted(owners, [image, image + 1]).tolist())


def select_found(found: FoundSubjects, rows: np.ndarray | slice) -> FoundSubjects:
    """Return the found subjects of `rows` alone."""
    return FoundSubjects(*(None if part is None else part[rows] for part in found))  # type: ignore[arg-type]


def _checked(image: str, found: FoundSubjects) -> FoundSubjects:
    """The same; ValueError for a number that is not finite: left out, it would flatter a network that diverged."""
    for name in ("keypoints", "confidence", "covariance", "score", "boxes"):
        if not np.isfinite(getattr(found, name)).all():
            raise ValueError(f"the {name} of a subject found in {image} is NaN or infinite; the weights are damaged")
    return found


def _ordered(found: FoundSubjects) -> FoundSubjects:
    left, top, right, bottom = found.boxes.T
    return select_found(found, np.lexsort((bottom, right, top, left, -found.score)))


def _all_labeled(scenes: Sequence[Scene], K: int) -> LabeledSubjects:
    points = [np.where((scene.visibility > 0)[..., None], scene.keypoints, np.nan) for scene in scenes]
    states = _joined([scene.visibility for scene in scenes], (K,)).astype(np.int64)
    return LabeledSubjects(_joined(points, (K, 2)), states, _joined([scene.boxes for scene in scenes], (4,)))


def _all_found(finds: Sequence[FoundSubjects], K: int) -> FoundSubjects:
    visibility = None
    if any(found.visibility is not None for found in finds):
        blank = [np.full((len(found.score), K, 3), np.nan) for found in finds]
        pairs = zip(finds, blank, strict=True)
        visibility = _joined([none if found.visibility is None else found.visibility for found, none in pairs], (K, 3))
    return FoundSubjects(
        _joined([found.keypoints for found in finds], (K, 2)),
        _joined([found.confidence for found in finds], (K,)),
        _joined([found.covariance for found in finds], (K, 2, 2)),
        _joined([found.score for found in finds], ()),
        _joined([found.boxes for found in finds], (4,)),
        visibility,
    )


def _joined(parts: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Arrays (n, *shape) as one of float64."""
    return np.concatenate([np.empty((0, *shape)), *(np.asarray(part, float).reshape(-1, *shape) for part in parts)])


def _owners(counts: Sequence[int]) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), np.array(counts, int))
