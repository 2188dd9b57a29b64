"""Groups that file names show: the frames of one video, the crops of one track, in folders of many."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from softpoint.labels.schema import Labels
from softpoint.labels.split import with_groups

# Expressions for `data.group`, from the finest groups to the coarsest: all that is before the last number of a name,
# its frame counter, which may follow a word; before the last two numbers, of a frame and an object; the first word,
# which is no number.
EXPRESSIONS = (
    r"(.+)[-_]\d+",
    r"(.+?)[-_. ]*(?:frame|image|img|f)?[-_. ]*\d+[^/\d]*$",
    r"(.+)[-_][^-_/]*\d+[-_][^-_/]*\d+",
    r"(.*/\d*[^-_./\d][^-_./]*|^\d*[^-_./\d][^-_./]*)[-_.]",
)


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

    @property
    def advice(self) -> str:
        """The setting that keeps the groups whole."""
        return f"\"data.group='{self.expression}'\" keeps the {self.groups} groups of such names in one split each"


def shared_name_groups(labels: Labels, rows: Mapping[str, Sequence[int] | np.ndarray]) -> NameGroups | None:
    """Return the groups of file names that the training rows share with the val or test rows; None without any.

    Groups are proposed only where they make sense: two or more, few with a single image, and none with most images.
    The last number counts frames unless a word is joined to it and another number varies: 004-mouse3 is of mouse 3.
    """
    for expression in EXPRESSIONS:
        try:
            groups = with_groups(labels, expression).groups
        except ValueError:  # it finds nothing in some path
            continue
        sizes = Counter(dict(zip(labels.paths, groups, strict=True)).values())
        images, alone = sum(sizes.values()), sum(size == 1 for size in sizes.values())
        most = images / 2 if len(sizes) > 2 else images * 3 / 4
        if len(sizes) < 2 or max(sizes.values()) > most or images < 2 * len(sizes) or 5 * alone > images:
            continue
        names = [group.rpartition("/")[2] for group in sizes]
        if any(name[-1:].isalpha() for name in names) and len({tuple(re.findall(r"\d+", name)) for name in names}) > 1:
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
