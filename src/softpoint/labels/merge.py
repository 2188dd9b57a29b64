"""Several sets of labels as one: keypoints matched by name, images and groups kept apart, splits honored."""

from __future__ import annotations

import logging
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from softpoint.labels.schema import UNLABELED, Labels, Subject
from softpoint.labels.skeleton import Skeleton
from softpoint.labels.split import split_name
from softpoint.paths import normalize_path

_log = logging.getLogger(__name__)


def merge_labels(parts: Sequence[Labels], union: bool = False) -> Labels:
    """Return the subjects of all parts, whose images may be in different folders.

    The skeleton is that of the first; the others have the same keypoints in any order, or with `union` any others too.
    A group is one within its part only; the images of a part without groups in a single folder are groups of their own.
    The split of an image is the one that its part states, or, where every part's file or folder is named so, that of
    the name (train.json and val.json). Raises ValueError for other keypoints, and for an image in two parts.
    """
    names = _short_names([part.source for part in parts])
    skeleton = _skeleton(parts, union)
    folder = _common_folder([part.folder for part in parts])
    splits = _splits(parts)
    subjects: list[Subject] = []
    stated: dict[str, str] = {}
    owners: dict[str, str] = {}
    for name, part, split in zip(names, parts, splits, strict=True):
        below = Path(os.path.relpath(part.folder, folder)).as_posix()
        own = [_moved(subject, name, below, part, skeleton) for subject in part.subjects]
        for old, new in zip(part.subjects, own, strict=True):
            if owners.setdefault(normalize_path(new.image), part.source) != part.source:
                other = owners[normalize_path(new.image)]
                raise ValueError(f"{new.image} is labeled in {other} and in {part.source}; remove it from one of them")
            stated |= {new.image: word} if (word := part.splits.get(old.image, split)) else {}
        subjects += own
    unused: Counter[str] = Counter()
    for part in parts:
        unused.update(part.unused)
    source = " and ".join(part.source for part in parts)
    return Labels(source, str(folder), skeleton, tuple(subjects), _categories(parts, skeleton), stated, unused)


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


def _moved(subject: Subject, name: str, below: str, part: Labels, skeleton: Skeleton) -> Subject:
    """Return a subject of a part whose folder is `below` that of all, in the order of the common skeleton."""
    columns = [skeleton.index(keypoint) for keypoint in part.skeleton.names]

    def spread(values: np.ndarray, empty: float) -> np.ndarray:
        result = np.full((len(skeleton), *values.shape[1:]), empty, values.dtype)
        result[columns] = values
        return result

    absolute = re.match(r"/|\w:[/\\]", subject.image)
    image = subject.image if absolute else posixpath.normpath(f"{below}/{subject.image}")
    single = len(set(part.groups)) == 1
    group = subject.group if subject.group is not None else (image if single else posixpath.dirname(subject.image))
    return replace(
        subject,
        image=image,
        place=f"{name} {subject.place}",
        keypoints=spread(subject.keypoints, np.nan),
        visibility=spread(subject.visibility, UNLABELED),
        written=None if subject.written is None else spread(subject.written, np.nan),
        group=f"{name}/{group}",
    )


def _splits(parts: Sequence[Labels]) -> list[str | None]:
    """Return the split that the name of each part states; none for any where one of them states none."""
    names = [_split_of(part.source) for part in parts]
    if not all(names) or len(set(names)) < 2 or any(part.splits for part in parts):
        return [None] * len(parts)
    _log.info(
        "splits are taken from names: %s", ", ".join(f"{p.source} {s}" for p, s in zip(parts, names, strict=True))
    )
    return names


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
