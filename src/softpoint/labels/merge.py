"""Several sets of labels as one: keypoints matched by name, images and groups kept apart, splits honored."""

from __future__ import annotations

import logging
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from softpoint.images import ImageFolder
from softpoint.labels.groups import name_groups
from softpoint.labels.name_groups import count_frames
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import UNLABELED, Labels, Subject
from softpoint.labels.skeleton import Skeleton
from softpoint.labels.split import split_name
from softpoint.labels.subjects import Subjects

_log = logging.getLogger(__name__)


def merge_labels(
    parts: Sequence[Labels], errors: RowErrors, union: bool = False, collectors: Sequence[RowErrors] = ()
) -> Labels:
    """Return the subjects of all parts, whose images may be in different folders.

    The skeleton is that of the first; the others have the same keypoints in any order, or with `union` any others too.
    A stated group is one within its part only, a folder is one for all; the images of a part without groups in a single
    folder are groups of their own, unless their names show groups or count the frames of a video. The split of an image
    is the one that its part states, or else that the name of its part does (train.json and val.json); where there are
    such, a part without one is trained on. Rows that the `collectors` of the parts skipped are named as their subjects
    are. An image out of its part's folder is an error of its row. Raises ValueError for other keypoints, and for an
    image in two parts.
    """
    names = _short_names([part.source for part in parts])
    skeleton = _skeleton(parts, union)
    folder = _common_folder([part.folder for part in parts])
    for own, name, part in zip(collectors, names, parts, strict=False):
        errors.take(own, name, _below(part, folder))
    parts = [_moved(part, name, folder, skeleton, errors) for name, part in zip(names, parts, strict=True)]
    errors.raise_or_warn()
    _check_owners(parts)
    subjects = Subjects.of(chain.from_iterable(_with_single_images(parts)), len(skeleton))
    unused, unread = Counter[str](), Counter[str]()
    for part in parts:
        unused.update(part.unused)
        unread.update(part.unread)
    source = " and ".join(part.source for part in parts)
    categories, splits = _categories(parts, skeleton), _splits(parts)
    return Labels(source, str(folder), skeleton, subjects, categories, splits, unused, unread)


def _skeleton(parts: Sequence[Labels], union: bool) -> Skeleton:
    """Return the skeleton of all parts; ValueError where they differ."""
    first = parts[0].skeleton
    for part in parts[1:]:
        differ = [
            f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''} only in {owner}"
            for missing, owner in (
                ([name for name in first.names if name not in part.skeleton.names], parts[0].source),
                ([name for name in part.skeleton.names if name not in first.names], part.source),
            )
            if missing
        ]
        if differ and not union:
            raise ValueError(
                f"the labels have different keypoints: {'; '.join(differ)}. Rename them alike, choose common ones by"
                " data.keypoints=[...], or take all by data.skeleton=union"
            )
    names = dict.fromkeys(chain.from_iterable(part.skeleton.names for part in parts))
    pairs: list[tuple[str, str]] = []
    for pair in chain.from_iterable(part.skeleton.flip_pairs for part in parts):
        pairs += [pair] if not set(pair) & set(chain.from_iterable(pairs)) else []
    edges = dict.fromkeys(chain.from_iterable(part.skeleton.edges for part in parts))
    return Skeleton(tuple(names), tuple(pairs), tuple(edges))


def _below(part: Labels, folder: Path) -> str:
    return Path(os.path.relpath(part.folder, folder)).as_posix()


def _moved(part: Labels, name: str, folder: Path, skeleton: Skeleton, errors: RowErrors) -> Labels:
    """Return a part with paths from the folder of all, in the order of the common skeleton."""
    columns = [skeleton.index(keypoint) for keypoint in part.skeleton.names]
    below = _below(part, folder)
    own = ImageFolder(Path(part.folder))

    def spread(values: np.ndarray, empty: float) -> np.ndarray:
        result = np.full((len(skeleton), *values.shape[1:]), empty, values.dtype)
        result[columns] = values
        return result

    subjects, splits = [], {}
    for subject in part.subjects:
        place = f"{name} {subject.place}"
        with errors.row(place, subject.image):
            own.path(subject.image)  # refuses one out of the part's folder
            image = posixpath.normpath(f"{below}/{own.relative(subject.image)}")
            if split := part.splits.get(subject.image):
                splits[image] = split
            moved = replace(
                subject,
                image=image,
                place=place,
                keypoints=spread(subject.keypoints, np.nan),
                visibility=spread(subject.visibility, UNLABELED),
                written=None if subject.written is None else spread(subject.written, np.nan),
                confidence=None if subject.confidence is None else spread(subject.confidence, np.nan),
                group=None if subject.group is None else f"{name}/{subject.group}",
            )
            subjects.append(moved)
    return replace(part, folder=str(folder), skeleton=skeleton, subjects=tuple(subjects), splits=splits)


def _check_owners(parts: Sequence[Labels]) -> None:
    owners: dict[str, str] = {}
    for part in parts:
        for image in part.paths:
            if (other := owners.setdefault(image, part.source)) != part.source:
                raise ValueError(f"{image} is labeled in {other} and in {part.source}; remove it from one of them")


def _with_single_images(parts: Sequence[Labels]) -> Iterator[Iterable[Subject]]:
    """Yield the subjects of each part; those of one folder, no group of another part, by names or image by image."""
    groups = [set(part.groups) for part in parts]
    divided = set(chain.from_iterable(own for own in groups if len(own) > 1))
    for part, own in zip(parts, groups, strict=True):
        names = _own_groups(part) if len(own) == 1 and not own & divided else {}
        yield (
            replace(s, group=names.get(path)) if s.group is None else s
            for path, s in zip(part.paths, part.subjects, strict=True)
        )


def _own_groups(part: Labels) -> dict[str, str]:
    """Return the group of each image of a folder by its names, or each image as one; none for one video's frames."""
    images = dict.fromkeys(part.paths)
    single = {image: image for image in images}
    if len(images) < 2 or any(group is not None for group in part.columns.texts("group")):
        return single
    if (found := name_groups(part.paths)) is not None and found.certain:
        groups = dict(found.groups)
        how = f"are of {found.number} groups by their names, such as {found.example}; data.group=none divides these"
    elif count_frames(images):
        groups = {}
        how = "are kept in one split: their names count frames of a video; data.group=none divides them"
    else:
        groups = single
        how = "are split one by one: their names count no frames of a video; data.group=REGEX keeps groups whole"
    _log.info("the images of %s %s", part.source, how)
    return groups


def _splits(parts: Sequence[Labels]) -> dict[str, str]:
    """Return the split of each image that its part or the name of it states, or train beside such; else none."""
    names = [None if part.splits else _split_of(part.source) for part in parts]
    if not any(part.splits for part in parts) and len({name or "train" for name in names}) < 2:
        return {}
    stated: dict[str, str] = {}
    words = []
    for part, name in zip(parts, names, strict=True):
        stated |= dict.fromkeys(part.images, name or "train") | dict(part.splits)
        words.append(f"{part.source} {'its own' if part.splits else name or 'states none, so train'}")
    _log.info("splits: %s", ", ".join(words))
    return stated


def _split_of(source: str) -> str | None:
    """Return the only split that the words of a file's name state, or its folder's name.

    >>> _split_of("a/person_keypoints_val2017.json"), _split_of("train/_annotations.coco.json"), _split_of("a/b.csv")
    ('val', 'train', None)
    """
    path = Path(source)
    for word in (path.stem, path.parent.name):
        found = {split for part in re.findall(r"[^\W\d_]+", word) if (split := split_name(part))}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _categories(parts: Sequence[Labels], skeleton: Skeleton) -> dict[str, tuple[str, ...]]:
    merged: dict[str, set[str]] = {}
    for name, keypoints in chain.from_iterable(part.categories.items() for part in parts):
        merged.setdefault(name, set()).update(keypoints)
    return {kind: tuple(name for name in skeleton.names if name in own) for kind, own in merged.items()}


def _common_folder(folders: Iterable[str]) -> Path:
    paths = [os.path.abspath(folder) for folder in folders]  # noqa: PTH100, links stay as they are
    try:
        return Path(os.path.commonpath(paths))
    except ValueError as error:
        raise ValueError(f"{paths[0]} and {paths[-1]} are on different drives; move one of them") from error


def _short_names(sources: Sequence[str]) -> list[str]:
    """Return the ends of the paths that tell them apart.

    >>> _short_names(["a/x/labels.csv", "b/x/labels.csv"]), _short_names(["a/x.csv", "a/y.csv"])
    (['a/x/labels.csv', 'b/x/labels.csv'], ['x.csv', 'y.csv'])
    """
    parts = [Path(source).parts for source in sources]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(own[-depth:]) for own in parts]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"{sources[0]} is named twice; name each set of labels once")
