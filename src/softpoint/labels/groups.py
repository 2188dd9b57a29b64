"""Groups of images that belong together: videos, sessions, persons; of the labels, folders, file names or a setting."""

from __future__ import annotations

import logging
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from softpoint.labels.name_groups import find_name_groups
from softpoint.labels.schema import Labels
from softpoint.labels.split import Split, split_name
from softpoint.paths import normalize_path

_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")

_log = logging.getLogger(__name__)


class FoundGroups(NamedTuple):
    """The group of each image, by path, that file names show; `certain` as in `find_name_groups`."""

    groups: Mapping[str, str]
    certain: bool

    @property
    def example(self) -> str:
        """A group of several images, and one of these."""
        sizes = Counter(self.groups.values())
        image = next(image for image, group in self.groups.items() if sizes[group] > 1)
        return f"{self.groups[image]!r} of {image}"

    @property
    def number(self) -> int:
        """Number of groups."""
        return len(set(self.groups.values()))


def with_groups(labels: Labels, setting: str | None, say: bool = False) -> Labels:
    """Return the labels with the group of each image by the setting `data.group`.

    None keeps the groups that the labels have, "auto" finds those in file names too, see `name_groups`, and the others
    are those of `group_names`, which replace them. With `say`, those that "auto" finds are logged.
    """
    grouped = replace(labels, has_groups=len(set(labels.groups)) > 1)
    if setting is None:
        return grouped
    if setting == "auto":
        if (found := own_name_groups(labels)) is None or not found.certain:
            return grouped
        stated = zip(labels.paths, labels.columns.texts("group"), strict=True)
        names = [found.groups.get(path, group) for path, group in stated]
        if say:
            _log.info(
                "%d groups by file names, such as %s, are kept whole; data.group=none splits single images, and"
                " data.group=REGEX names others",
                *(found.number, found.example),
            )
    else:
        names = [*group_names(labels.paths, setting)]
    return replace(labels.changed(group=names), has_groups=len(set(names)) > 1)


def group_names(images: Sequence[str], setting: str, key: str = "data.group", part: str = "") -> list[str]:
    """Return the group of each image by its path; errors name the option `key`.

    "none" makes each image a group, "auto" finds groups in file names, or else takes the folders, and "names" finds
    them also where they may be classes. Of another setting, a regular expression, the first parenthesis is the group's
    name, or that named `part`, or all that it matches. Raises ValueError for a broken expression, a path in which it
    finds nothing, and "names" without groups.

    >>> group_names(["a1/7.png", "b2/7.png"], "[a-z]"), group_names(["a1/7.png"], "none")
    (['a', 'b'], ['a1/7.png'])
    >>> group_names([f"{word}{i}.png" for word in ("cat", "dog") for i in (1, 2)], "names")
    ['cat', 'cat', 'dog', 'dog']
    """
    images = [normalize_path(image) for image in images]
    if setting == "none":
        return images
    if setting in ("auto", "names"):
        if (found := name_groups(images)) is None and setting == "names":
            raise ValueError(
                f"{key}=names finds no groups in file names such as {images[0]!r}; write a regular expression, or none"
                " for single images"
            )
        groups = found.groups if found and (found.certain or setting == "names") else {}
        return [groups.get(image, posixpath.dirname(image)) for image in images]
    try:
        search = re.compile(setting).search
    except re.error as error:
        raise ValueError(f"{key}={setting!r} is not a regular expression: {error}") from error
    matches = [search(image) for image in images]
    names = [(match[part or (1 if match.re.groups else 0)] or "") if match else "" for match in matches]
    if "" in names:
        raise ValueError(
            f"{key}={setting!r} finds nothing in {names.count('')} of {len(names)} paths, first"
            f" {images[names.index('')]!r}; write one that matches every path, or none for single images"
        )
    return names


def own_name_groups(labels: Labels) -> FoundGroups | None:
    """Return the `name_groups` of labels, without images of which they state the group."""
    groups = zip(labels.paths, labels.columns.texts("group"), strict=True)
    return name_groups(labels.paths, {path for path, group in groups if group is not None})


def name_groups(paths: Sequence[str], stated: Collection[str] = ()) -> FoundGroups | None:
    """Return the groups that file names show within a folder of more than half of the images; None without any.

    Folders named train, val and test are one. Where names in other folders show groups too, a folder is what these have
    in common, and stays whole. Images with a `stated` group are left out.
    """
    folders: dict[str, list[str]] = defaultdict(list)
    for path in dict.fromkeys(paths):
        if path not in stated:
            folders[_without_splits(posixpath.dirname(path))].append(path)
    largest = max(folders, key=lambda folder: len(folders[folder]), default="")
    if 2 * len(folders[largest]) <= len(set(paths)) or (found := _in_folder(folders.pop(largest))) is None:
        return None
    if any(_in_folder(others) for others in folders.values()):
        return None
    keys, certain = found
    return FoundGroups({path: posixpath.join(largest, key) for path, key in keys.items()}, certain)


def _without_splits(folder: str) -> str:
    return "/".join(part for part in folder.split("/") if split_name(part) is None)


def _in_folder(paths: Sequence[str]) -> tuple[dict[str, str], bool] | None:
    """Return the group of each path by its name, and whether it is certain."""
    stems = [_SUFFIX.sub("", path.rpartition("/")[2]) for path in paths]
    if len({posixpath.dirname(path) for path in paths}) > 1 and len(set(stems)) < len(stems):
        return None  # counted anew in each folder
    found = find_name_groups(stems)
    return None if found is None else (dict(zip(paths, found.keys, strict=True)), found.certain)


class DividedGroups(NamedTuple):
    """Images of a group by file names on both sides of a split."""

    found: FoundGroups
    held_out: Mapping[str, int]  # number of val and test images whose group also trains
    example: tuple[int, int]  # the rows of such an image and of a training image of its group

    @property
    def message(self) -> str:
        """The number of images, in a phrase."""
        counts = " and ".join(f"{count} {split}" for split, count in self.held_out.items())
        verb = "are" if self.found.certain else "may be"
        return f"{counts} images {verb} of the same video, track or subject as training images, by their names"

    def advice(self, split_file: str | Path | None = None) -> str:
        """The setting that keeps the groups whole, in place of the file that divides them, if there is one."""
        instead = "" if split_file is None else f" in place of data.splits={split_file}"
        first = "" if self.found.certain else "if so, "
        return f"{first}data.group=names{instead} keeps the {self.found.number} groups of such names in one split each"


def divided_groups(
    labels: Labels, rows: Mapping[str, Sequence[int] | np.ndarray], split: Split
) -> DividedGroups | None:
    """Return the groups of file names that the training rows share with the val or test rows; None without any.

    Where `split` states groups, or found them in the names and no split was stated, names are not asked.
    """
    if split.group not in (None, "auto") or (found := name_groups(labels.paths)) is None:
        return None
    own = [(None, found.groups.get(path)) for path in labels.paths]
    stated = any(group not in names for group, names in zip(labels.columns.texts("group"), own, strict=True))
    kept = found.certain and split.group == "auto" and split.splits is None and not labels.splits
    if stated or kept:
        return None
    groups = [found.groups.get(path, path) for path in labels.paths]
    trained = {groups[row]: int(row) for row in reversed(rows["train"])}
    shared = [(name, int(row)) for name in ("val", "test") for row in rows[name] if groups[row] in trained]
    if not shared:
        return None
    counts = Counter(name for name, _ in {(name, labels.paths[row]) for name, row in shared})
    first = shared[0][1]
    return DividedGroups(found, dict(sorted(counts.items(), reverse=True)), (first, trained[groups[first]]))
