"""What the keypoints of a data set are called and how they belong together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from softpoint.suggest import did_you_mean


@dataclass(frozen=True)
class Skeleton:
    """Keypoint names in order, the (left, right) pairs a mirror swaps, and the edges people draw.

    Raises ValueError for a repeated name, pairs that overlap, or a pair or edge that names no keypoint.

    >>> Skeleton(("nose", "left_ear", "right_ear"), flip_pairs=(("left_ear", "right_ear"),)).flip_index
    [0, 2, 1]
    """

    names: tuple[str, ...]
    flip_pairs: tuple[tuple[str, str], ...] = ()
    edges: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if repeated := sorted({name for name in self.names if self.names.count(name) > 1}):
            raise ValueError(f"keypoint names must differ, but these repeat: {', '.join(repeated)}")
        paired = [name for pair in self.flip_pairs for name in pair]
        if twice := sorted({name for name in paired if paired.count(name) > 1}):
            raise ValueError(f"flip pairs must not share keypoints, but {twice[0]!r} is in two places of them")
        for kind, pairs in (("flip pair", self.flip_pairs), ("edge", self.edges)):
            for pair in pairs:
                for name in pair:
                    self.index(name, f"{kind} {list(pair)}")

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str, asked_by: str = "selection") -> int:
        """Position of a keypoint; ValueError with a suggestion for an unknown name."""
        if name not in self.names:
            raise ValueError(f"{asked_by}: no keypoint is named {name!r}; {did_you_mean(name, self.names)}")
        return self.names.index(name)

    @property
    def flip_index(self) -> list[int]:
        """Which keypoint of the original stands at each position after a mirror."""
        order = list(range(len(self.names)))
        for left, right in self.flip_pairs:
            i, j = self.names.index(left), self.names.index(right)
            order[i], order[j] = j, i
        return order

    def subset(self, names: Sequence[str]) -> Skeleton:
        """The skeleton of these keypoints alone, in this order."""
        for name in names:
            self.index(name, "data.keypoints")
        return Skeleton(
            tuple(names),
            tuple(p for p in self.flip_pairs if set(p) <= set(names)),
            tuple(e for e in self.edges if set(e) <= set(names)),
        )

    def to_dict(self) -> dict[str, list]:
        """Plain lists, for a checkpoint."""
        return {
            "names": list(self.names),
            "flip_pairs": [list(pair) for pair in self.flip_pairs],
            "edges": [list(edge) for edge in self.edges],
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Sequence]) -> Skeleton:
        """The skeleton that `to_dict` wrote."""
        pairs = (tuple((str(a), str(b)) for a, b in stored[kind]) for kind in ("flip_pairs", "edges"))
        return cls(tuple(map(str, stored["names"])), *pairs)


def infer_flip_pairs(names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of names that differ only in left/right or in a separate L/R.

    >>> infer_flip_pairs(["nose", "leftear", "rightear", "paw_L", "paw_R"])
    (('leftear', 'rightear'), ('paw_L', 'paw_R'))
    """
    names = list(names)
    pairs = []
    for name in names:
        mirrored = _MIRROR.sub(lambda match: _SWAP[match.group().lower()](match.group()), name)
        if mirrored != name and mirrored in names:
            pairs.append((name, mirrored))
    return tuple(pairs)


# Only the left name matches, so that each pair is found once.
_MIRROR = re.compile(r"left|(?<![A-Za-z])L(?![A-Za-z])|(?<![A-Za-z])l(?![A-Za-z])", re.IGNORECASE)
_SWAP = {
    "left": lambda text: "RIGHT" if text.isupper() else "Right" if text[0].isupper() else "right",
    "l": lambda text: "R" if text == "L" else "r",
}
