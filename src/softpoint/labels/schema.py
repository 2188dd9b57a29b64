"""Labels in one form for every file format."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from softpoint.labels.skeleton import Skeleton
from softpoint.paths import normalize_path
from softpoint.suggest import did_you_mean

# States of `visibility`. The first three are COCO's and all that a label file holds; the last one replaces the first
# with `data.unlabeled=absent`, where an unlabeled point is not in the image.
UNLABELED, OCCLUDED, VISIBLE, ABSENT = 0, 1, 2, -1


@dataclass(eq=False, slots=True)  # to make frozen ones takes a sixth of the time of reading a large file
class Subject:
    """One labeled subject in one image; all lengths in pixels of that image. It is replaced, never changed.

    An image in which nothing is labeled is a subject without box and points.
    """

    image: str  # path as written, relative to the folder of the images
    place: str  # of its row in the file, for messages: "line 4", "annotation 442619"
    keypoints: np.ndarray  # float64 (K, 2) as (x, y), an integer being the center of a pixel; NaN where unlabeled
    visibility: np.ndarray  # int64 (K,): 0 unlabeled, 1 occluded, 2 visible
    box: tuple[float, float, float, float] | None = None  # left, top, right, bottom edges; pixel i spans i -+ 0.5
    category: str = ""  # in a file with several
    name: str = ""  # of the individual, in a file that names them
    group: str | None = None  # video, session or person; None for the folder of the image
    area: float = float("nan")  # of its outline in px^2, where the file states one
    crowd: bool = False  # a box about many subjects at once, with no points of its own
    size: tuple[int, int] = (0, 0)  # height and width that the file states for the image; 0 where it does not
    written: np.ndarray | None = None  # float64 (K, 2), the coordinates in the file where these are no such pixels
    confidence: np.ndarray | None = None  # float64 (K,), scores of predicted points where the file has any; or NaN

    @property
    def row(self) -> str:
        """The place of the row that this is of, where a row has several subjects."""
        return self.place.partition(", ")[0]


@dataclass(frozen=True, eq=False)
class Labels:
    """N labeled subjects with K keypoints each; several may share an image.

    Where the file has categories with different keypoints, the skeleton holds all keypoints, and `categories` lists
    those of each. `splits` holds the train, val or test that the file itself states for its images, by their path;
    it is empty where the file states none. `unused` counts what else the file holds, such as predicted instances, and
    `unread` the fields that only other programs use, such as the outlines of COCO: no other file has them.
    `has_groups` tells of all images, and of a selection too, that there are several groups: its images then are not
    independent, even where they are all of one.
    """

    source: str  # file or folder, for messages
    folder: str  # that the paths start from, unless the user names another
    skeleton: Skeleton
    subjects: tuple[Subject, ...]
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    unused: Mapping[str, int] = field(default_factory=dict)
    unread: Mapping[str, int] = field(default_factory=dict)
    has_groups: bool = False

    def __post_init__(self) -> None:
        # A point is labeled where it has coordinates.
        assert np.array_equal(self.visibility > 0, np.isfinite(self.keypoints).all(-1)), self.source

    def __len__(self) -> int:
        return len(self.subjects)

    @cached_property
    def images(self) -> tuple[str, ...]:
        """Image of each subject, as written."""
        return tuple(subject.image for subject in self.subjects)

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """Image of each subject in one spelling: equal for the subjects of one image."""
        return tuple(map(normalize_path, self.images))

    @cached_property
    def keypoints(self) -> np.ndarray:
        """float64 (N, K, 2), NaN where unlabeled."""
        return _stack([subject.keypoints for subject in self.subjects], (len(self.skeleton), 2), np.float64)

    @cached_property
    def written(self) -> np.ndarray:
        """float64 (N, K, 2), the coordinates as in the file, in which missing points are marked."""
        rows = [subject.keypoints if subject.written is None else subject.written for subject in self.subjects]
        return _stack(rows, (len(self.skeleton), 2), np.float64)

    @cached_property
    def visibility(self) -> np.ndarray:
        """int64 (N, K)."""
        return _stack([subject.visibility for subject in self.subjects], (len(self.skeleton),), np.int64)

    @cached_property
    def boxes(self) -> np.ndarray:
        """float64 (N, 4): left, top, right and bottom edge; NaN for a subject without a box."""
        return _stack([subject.box or (np.nan,) * 4 for subject in self.subjects], (4,), np.float64)

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Group of each subject's image: a video, a session, a person; else its folder."""
        return tuple(
            posixpath.dirname(path) if subject.group is None else subject.group
            for subject, path in zip(self.subjects, self.paths, strict=True)
        )

    @cached_property
    def places(self) -> tuple[str, ...]:
        """Place of each subject in the source, for messages."""
        return tuple(subject.place for subject in self.subjects)

    def select(self, indices: Iterable[int]) -> Labels:
        """Return the labels of these subjects alone, in this order."""
        return replace(self, subjects=tuple(self.subjects[int(index)] for index in indices))

    def with_keypoints(self, names: Sequence[str]) -> Labels:
        """Return the labels of these keypoints alone, in this order; ValueError for an unknown name."""
        skeleton = self.skeleton.subset(names)
        order = [self.skeleton.index(name) for name in names]
        subjects = (
            replace(
                s,
                keypoints=s.keypoints[order],
                visibility=s.visibility[order],
                written=None if s.written is None else s.written[order],
                confidence=None if s.confidence is None else s.confidence[order],
            )
            for s in self.subjects
        )
        kept = {kind: tuple(name for name in parts if name in names) for kind, parts in self.categories.items()}
        return replace(self, skeleton=skeleton, subjects=tuple(subjects), categories=kept)

    def with_any_of(self, names: Sequence[str]) -> Labels:
        """Return the labels of those of these keypoints that they have; of all, where they have none of them."""
        shared = [name for name in names if name in self.skeleton.names]
        return self.with_keypoints(shared) if shared else self

    def with_categories(self, names: Sequence[str]) -> Labels:
        """Return the subjects of these categories, and images without any, with the keypoints of these categories.

        Raises ValueError for an unknown category.
        """
        for name in names:
            if name not in self.categories:
                hint = did_you_mean(name, self.categories) if self.categories else "the labels have none"
                raise ValueError(f"data.categories: no category is named {name!r} in {self.source}; {hint}")
        chosen = [i for i, s in enumerate(self.subjects) if s.category in names or not (s.category or s.box)]
        parts = {part for name in names for part in self.categories[name]}
        kept = self.select(chosen).with_keypoints([name for name in self.skeleton.names if name in parts])
        return replace(kept, categories={name: self.categories[name] for name in names})


def select_labels(
    labels: Labels,
    categories: Sequence[str] | None = None,
    keypoints: Sequence[str] | None = None,
    flip_pairs: Sequence[tuple[str, str]] | None = None,
    edges: Sequence[tuple[str, str]] | None = None,
) -> Labels:
    """Return the labels of these categories and keypoints, with these pairs and edges; None keeps those there are."""
    labels = labels if categories is None else labels.with_categories(categories)
    labels = labels if keypoints is None else labels.with_keypoints(keypoints)
    skeleton = labels.skeleton
    if flip_pairs is not None:
        skeleton = replace(skeleton, flip_pairs=tuple((left, right) for left, right in flip_pairs))
    if edges is not None:
        skeleton = replace(skeleton, edges=tuple((start, end) for start, end in edges))
    return replace(labels, skeleton=skeleton)


def _stack(rows: Sequence[Any], shape: tuple[int, ...], dtype: type) -> np.ndarray:
    return np.array(rows, dtype=dtype).reshape(len(rows), *shape)
