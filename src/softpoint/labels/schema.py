"""Labels in one form for every file format."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from softpoint.labels.skeleton import Skeleton
from softpoint.labels.subjects import Subject as Subject
from softpoint.labels.subjects import Subjects
from softpoint.paths import normalize_path
from softpoint.suggest import did_you_mean

# States of `visibility`. The first three are COCO's and all that a label file holds; the last one replaces the first
# with `data.unlabeled=absent`, where an unlabeled point is not in the image.
UNLABELED, OCCLUDED, VISIBLE, ABSENT = 0, 1, 2, -1


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
    subjects: Sequence[Subject]  # kept as `Subjects`, in columns
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    unused: Mapping[str, int] = field(default_factory=dict)
    unread: Mapping[str, int] = field(default_factory=dict)
    has_groups: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.subjects, Subjects):
            object.__setattr__(self, "subjects", Subjects.of(self.subjects, len(self.skeleton)))
        # A point is labeled where it has coordinates.
        assert np.array_equal(self.visibility > 0, np.isfinite(self.keypoints).all(-1)), self.source

    def __len__(self) -> int:
        return len(self.subjects)

    @property
    def columns(self) -> Subjects:
        """The subjects in columns."""
        assert isinstance(self.subjects, Subjects)
        return self.subjects

    @property
    def images(self) -> tuple[str, ...]:
        """Image of each subject, as written."""
        return self.columns.texts("image")

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """Image of each subject in one spelling: equal for the subjects of one image."""
        paths = {image: normalize_path(image) for image in self.images}
        if all(image == path for image, path in paths.items()):
            return self.images  # in the same objects, of which a large file has many
        return tuple(map(paths.__getitem__, self.images))

    @property
    def keypoints(self) -> np.ndarray:
        """float64 (N, K, 2), NaN where unlabeled."""
        return self.columns.numbers("keypoints")

    @property
    def written(self) -> np.ndarray:
        """float64 (N, K, 2), the coordinates as in the file, in which missing points are marked."""
        if "written" not in self.columns.stated:
            return self.keypoints
        written = self.columns.numbers("written")
        return np.where(np.isnan(written).all((1, 2), keepdims=True), self.keypoints, written)

    @property
    def visibility(self) -> np.ndarray:
        """int8 (N, K)."""
        return self.columns.numbers("visibility")

    @property
    def boxes(self) -> np.ndarray:
        """float64 (N, 4): left, top, right and bottom edge; NaN for a subject without a box."""
        return self.columns.numbers("box")

    @property
    def crowds(self) -> np.ndarray:
        """bool (N,): boxes about many subjects at once."""
        return self.columns.numbers("crowd")

    @property
    def blank(self) -> np.ndarray:
        """bool (N,): images in which nothing is labeled, which have one subject without box and points."""
        return np.asarray(~((self.visibility > 0).any(1) | np.isfinite(self.boxes).all(1)))

    @property
    def count(self) -> int:
        """Number of subjects that are neither blank nor a crowd."""
        return int((~self.blank & ~self.crowds).sum())

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Group of each subject's image: a video, a session, a person; else its folder."""
        shared: dict[str, str] = {}
        groups = (
            posixpath.dirname(path) if group is None else group
            for group, path in zip(self.columns.texts("group"), self.paths, strict=True)
        )
        return tuple(shared.setdefault(group, group) for group in groups)

    @property
    def places(self) -> tuple[str, ...]:
        """Place of each subject in the source, for messages."""
        return self.columns.texts("place")

    def select(self, indices: Iterable[int] | slice) -> Labels:
        """Return the labels of these subjects alone, in this order; those of a slice share the arrays of these."""
        rows = indices if isinstance(indices, slice) else np.fromiter(indices, np.intp)
        if isinstance(rows, np.ndarray) and np.array_equal(rows, np.arange(len(self))):
            return self
        return replace(self, subjects=self.columns.select(rows))

    def changed(self, **values: np.ndarray | Sequence[str | None]) -> Labels:
        """Return the labels with other `values` (N, ...) of these fields of their subjects."""
        return replace(self, subjects=self.columns.changed(values))

    def with_keypoints(self, names: Sequence[str]) -> Labels:
        """Return the labels of these keypoints alone, in this order; ValueError for an unknown name."""
        skeleton = self.skeleton.subset(names)
        columns = self.columns.with_keypoints([self.skeleton.index(name) for name in names])
        kept = {kind: tuple(name for name in parts if name in names) for kind, parts in self.categories.items()}
        return replace(self, skeleton=skeleton, subjects=columns, categories=kept)

    def with_any_of(self, names: Sequence[str]) -> Labels:
        """Return the labels of those of these keypoints that they have; of all, where they have none of them."""
        shared = [name for name in names if name in self.skeleton.names]
        return self.with_keypoints(shared) if shared else self

    def with_categories(self, names: Sequence[str], keep_images: bool = False) -> Labels:
        """Return the subjects of these categories, and images without any, with the keypoints of these categories.

        With `keep_images` an image of other categories alone is kept, as one in which nothing is labeled. Raises
        ValueError for an unknown category.
        """
        for name in names:
            if name not in self.categories:
                hint = did_you_mean(name, self.categories) if self.categories else "the labels have none"
                raise ValueError(f"data.categories: no category is named {name!r} in {self.source}; {hint}")
        unboxed = np.isnan(self.boxes[:, 0]).tolist()
        kinds = zip(self.columns.texts("category"), unboxed, strict=True)
        chosen = [i for i, (kind, none) in enumerate(kinds) if kind in names or (none and not kind)]
        parts = {part for name in names for part in self.categories[name]}
        labels = self
        if keep_images:
            shown = {self.paths[i] for i in chosen}
            first = dict(zip(reversed(self.paths), reversed(range(len(self))), strict=True))
            others = [row for path, row in first.items() if path not in shown]
            labels = replace(self, subjects=self.columns.without_labels(np.array(others, np.intp)))
            chosen = sorted(chosen + others)
        kept = labels.select(chosen).with_keypoints([name for name in self.skeleton.names if name in parts])
        return replace(kept, categories={name: self.categories[name] for name in names})


def select_labels(
    labels: Labels,
    categories: Sequence[str] | None = None,
    keypoints: Sequence[str] | None = None,
    flip_pairs: Sequence[tuple[str, str]] | None = None,
    edges: Sequence[tuple[str, str]] | None = None,
    keep_images: bool = False,
) -> Labels:
    """Return the labels of these categories and keypoints, with these pairs and edges; None keeps those there are.

    `keep_images` as in `Labels.with_categories`.
    """
    labels = labels if categories is None else labels.with_categories(categories, keep_images)
    labels = labels if keypoints is None else labels.with_keypoints(keypoints)
    skeleton = labels.skeleton
    if flip_pairs is not None:
        skeleton = replace(skeleton, flip_pairs=tuple((left, right) for left, right in flip_pairs))
    if edges is not None:
        skeleton = replace(skeleton, edges=tuple((start, end) for start, end in edges))
    return replace(labels, skeleton=skeleton)
