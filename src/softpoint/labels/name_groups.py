"""Groups that file names show: the frames of one video, the crops of one track, in folders of many."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np

from softpoint.labels.schema import Labels
from softpoint.labels.split import with_groups

# Words of a frame counter.
_FRAME = "(?i:frame|image|img|f)"
# Expressions for `data.group`, from the finest groups to the coarsest: all that is before the last number of a name,
# its frame counter, which may follow a word; before the last two numbers, of a frame and an object; the word and number
# after a frame counter; the first word, which is no number.
EXPRESSIONS = (
    r"(.+)[-_]\d+",
    rf"(.+?)[-_. ]*{_FRAME}?[-_. ]*\d+[^/\d]*$",
    r"(.+)[-_][^-_/]*\d+[-_][^-_/]*\d+",
    rf"(?:^|[-_/])(?:{_FRAME}[-_. ]*\d\d\d|\d{{5}})\d*[-_]([a-zA-Z]+[-_]?\d+)[^-_/\d]*$",
    r"(.*/\d*[^-_./\d][^-_./]*|^\d*[^-_./\d][^-_./]*)[-_.]",
)


# Names that cameras give to photos.
_CAMERA = re.compile(r"(IMG|DSC[NF]?|PXL|DJI|GOPR|P)[-_]?")


def count_frames(paths: Iterable[str]) -> bool:
    """Return whether file names are one word and a counter, or a padded number, as frames of one video have.

    >>> count_frames(["a/img01.png", "a/img12.png"]), count_frames(["a/0001.png", "a/0040.png"])
    (True, True)
    >>> count_frames(["000000000139.jpg"] * 2), count_frames(["IMG_1.jpg", "IMG_2.jpg"]), count_frames(["ann1", "bob1"])
    (False, False, False)
    """
    found = {re.fullmatch(r"(.*?)(\d+)", Path(path).stem) for path in paths}
    words = {"" if match is None else match[1] for match in found}
    if None in found or len(words) > 1:
        return False
    word, numbers = words.pop(), [match[2] for match in found if match]
    padded = any(number[0] == "0" < number for number in numbers) and max(map(len, numbers)) <= 8
    return not _CAMERA.fullmatch(word) if any(map(str.isalpha, word)) else padded


class NameGroups(NamedTuple):
    """Images of a group that file names show, on both sides of a split."""

    expression: str  # for `data.group`
    groups: int  # that the expression finds
    held_out: Mapping[str, int]  # number of val and test images whose group also trains
    example: tuple[int, int]  # the rows of such an image and of a training image of its group

    @property
    def message(self) -> str:
        """The number of images, in a phrase."""
        counts = " and ".join(f"{count} {split}" for split, count in self.held_out.items())
        return f"{counts} images seem to be of the same video, track or subject as training images, by their names"

    def advice(self, split_file: str | Path | None = None) -> str:
        """The setting that keeps the groups whole, in place of the file that divides them, if there is one."""
        instead = "" if split_file is None else f" in place of data.splits={split_file}"
        setting = f"\"data.group='{self.expression}'\"{instead}"
        return f"{setting} keeps the {self.groups} groups of such names in one split each"


def shared_name_groups(labels: Labels, rows: Mapping[str, Sequence[int] | np.ndarray]) -> NameGroups | None:
    """Return the groups of file names that the training rows share with the val or test rows; None without any.

    Groups are proposed only where they make sense: two or more, few with a single image, and none with nearly all.
    The last number counts frames unless another number varies, and a word is joined to it (004-mouse3 is of mouse 3)
    or a word comes before it and it takes fewer values (0004_mouse_3 too, but 03_shot_0012 is of shot 3).
    """
    for expression in EXPRESSIONS:
        try:
            groups = with_groups(labels, expression).groups
        except ValueError:  # it finds nothing in some path
            continue
        sizes = Counter(dict(zip(labels.paths, groups, strict=True)).values())
        images, alone = sum(sizes.values()), sum(size == 1 for size in sizes.values())
        if len(sizes) < 2 or max(sizes.values()) > images * 3 / 4 or images < 2 * len(sizes) or 5 * alone > images:
            continue
        if _ends_in_an_object(labels.paths, groups, expression):
            continue
        trained = {groups[row]: int(row) for row in reversed(rows["train"])}
        shared = [(split, int(row)) for split in ("val", "test") for row in rows[split] if groups[row] in trained]
        if not shared:
            return None
        counts = Counter(split for split, _ in {(split, labels.paths[row]) for split, row in shared})
        first = shared[0][1]
        return NameGroups(
            expression, len(sizes), dict(sorted(counts.items(), reverse=True)), (first, trained[groups[first]])
        )
    return None


def _ends_in_an_object(paths: Sequence[str], groups: Sequence[str], expression: str) -> bool:
    """Return whether the groups may be those of a frame: their names hold its number, and an object's comes last."""
    names = {group.rpartition("/")[2] for group in groups}
    if expression == EXPRESSIONS[3]:  # the groups are the objects, of which a video has fewer than frames
        return len(names) ** 2 >= len(paths)
    numbers = {tuple(re.findall(r"\d+", name)) for name in names}
    if len(numbers) == 1 or not any(name[-1:].isalpha() for name in names):
        return False
    last = {re.findall(r"\d+", path)[-1] for path in paths}
    return expression != EXPRESSIONS[0] or len(last) < max(len(set(column)) for column in zip_longest(*numbers))
