"""Names of keypoints, their mirror pairs, and the edges between them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from softpoint.suggest import did_you_mean

# More than any real skeleton has; without a limit a small file could ask for endless memory.
MAX_KEYPOINTS = 4096


@dataclass(frozen=True)
class Skeleton:
    """Keypoint names in order, the (left, right) pairs that a mirror exchanges, and the edges to draw.

    Raises ValueError for a repeated name, pairs that overlap, or a pair or edge that names no keypoint.

    >>> Skeleton(("nose", "left_ear", "right_ear"), flip_pairs=(("left_ear", "right_ear"),)).flip_index
    [0, 2, 1]
    """

    names: tuple[str, ...]
    flip_pairs: tuple[tuple[str, str], ...] = ()
    edges: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if repeated := sorted(name for name, count in Counter(self.names).items() if count > 1):
            raise ValueError(f"keypoint names must differ, but these repeat: {', '.join(repeated)}")
        paired = [name for pair in self.flip_pairs for name in pair]
        if repeated := sorted(name for name, count in Counter(paired).items() if count > 1):
            raise ValueError(f"flip pairs must not share keypoints, but {repeated[0]!r} occurs twice")
        for kind, pairs in (("flip pair", self.flip_pairs), ("edge", self.edges)):
            for pair in pairs:
                for name in pair:
                    self.index(name, f"{kind} {list(pair)}")

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str, context: str = "selection") -> int:
        """Return the position of a keypoint; raise ValueError with a suggestion for an unknown name."""
        if name not in self.names:
            raise ValueError(f"{context}: no keypoint is named {name!r}; {did_you_mean(name, self.names)}")
        return self.names.index(name)

    @property
    def flip_index(self) -> list[int]:
        """The index of the keypoint at each position after a mirror."""
        order = list(range(len(self.names)))
        for left, right in self.flip_pairs:
            i, j = self.names.index(left), self.names.index(right)
            order[i], order[j] = j, i
        return order

    @cached_property
    def partnerless(self) -> tuple[str, ...]:
        """The keypoints that have a left or right side and no partner: a mirror would make each of them another one.

        >>> Skeleton(("nose", "left_ear", "right_ear", "left_hip"), (("left_ear", "right_ear"),)).partnerless
        ('left_hip',)
        """
        paired = {name for pair in self.flip_pairs for name in pair}
        inferred = {name for pair in infer_flip_pairs(self.names) for name in pair}
        sides = [_SIDE, *(side for side in _WEAK_SIDES if any(map(side.search, paired)))]
        single = dict.fromkeys(name for name in self.names if name not in paired)
        for name in single:
            for letter in re.finditer("[lL]", name):  # two that differ in it alone, as eyel and eyer, may be a pair
                mirrored = name[: letter.start()] + _swapped(letter) + name[letter.end() :]
                inferred |= {name, mirrored} if mirrored in single else set()
        return tuple(name for name in single if name in inferred or any(side.search(name) for side in sides))

    @property
    def can_mirror(self) -> bool:
        """True where a mirrored image has a right label for every keypoint."""
        return bool(self.flip_pairs) and not self.partnerless

    @property
    def mirroring(self) -> str:
        """A sentence on the keypoints that a mirror exchanges, and on those that stand alone."""
        paired = {name for pair in self.flip_pairs for name in pair}
        pairs = [" and ".join(pair) for pair in self.flip_pairs]
        single = [name for name in self.names if name not in paired]
        text = f"flip pairs: {_first_of(pairs)}; unpaired: {_first_of(single)}"
        if not self.partnerless:
            return text
        return (
            f"{text}. No image is mirrored, because {_first_of(self.partnerless)} would need a partner: name all pairs"
            " by data.flip_pairs=[[LEFT,RIGHT],...], or leave such keypoints out by data.keypoints"
        )

    def subset(self, names: Sequence[str]) -> Skeleton:
        """Return the skeleton of these keypoints only, in this order."""
        for name in names:
            self.index(name, "data.keypoints")
        return Skeleton(
            tuple(names),
            tuple(pair for pair in self.flip_pairs if set(pair) <= set(names)),
            tuple(edge for edge in self.edges if set(edge) <= set(names)),
        )

    def to_dict(self) -> dict[str, list[Any]]:
        """Return plain lists, for a checkpoint."""
        return {
            "names": list(self.names),
            "flip_pairs": [list(pair) for pair in self.flip_pairs],
            "edges": [list(edge) for edge in self.edges],
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Sequence[Any]]) -> Skeleton:
        """Return the skeleton that `to_dict` stored."""
        pairs = (tuple((str(a), str(b)) for a, b in stored[kind]) for kind in ("flip_pairs", "edges"))
        return cls(tuple(map(str, stored["names"])), *pairs)


def _first_of(names: Sequence[str], count: int = 20) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more if names else "none"


def infer_flip_pairs(names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return the (left, right) pairs of names that differ only in the marker of the side.

    The marker is the word left or right, anywhere; or near and off, a horse's left and right, at the beginning of a
    word; or Lt and Rt; or a letter L or R that is separate (l_eye, paw-L, L1), a capital joined to a word (LEye, kneeL,
    foreLPaw), next to one or two other capitals (LA, FL, paw1LH), before a part of a body (lpaw, Lsho), or, where other
    names show pairs, before any word (ltail). Another letter within a word is no marker: tail and tair are no pair.

    >>> infer_flip_pairs(["nose", "leftear", "rightear", "paw_L", "paw_R"])
    (('leftear', 'rightear'), ('paw_L', 'paw_R'))
    >>> infer_flip_pairs(["LEye", "REye", "kneeL", "kneeR", "paw1LH", "paw1RH", "Left Ear", "Right Ear"])
    (('LEye', 'REye'), ('kneeL', 'kneeR'), ('paw1LH', 'paw1RH'), ('Left Ear', 'Right Ear'))
    >>> infer_flip_pairs(["LA", "RA", "lpaw", "rpaw", "Lsho", "Rsho", "nearfore", "offfore", "lear", "rear"])
    (('LA', 'RA'), ('lpaw', 'rpaw'), ('Lsho', 'Rsho'), ('nearfore', 'offfore'), ('lear', 'rear'))
    >>> infer_flip_pairs(["lt_ear", "rt_ear", "Lt.eye", "Rt.eye"])
    (('lt_ear', 'rt_ear'), ('Lt.eye', 'Rt.eye'))
    >>> infer_flip_pairs(["tail", "tair", "ball", "barr", "lear", "rear", "left_hip"])
    ()
    """
    names = dict.fromkeys(names)  # fast to search, even with thousands of names
    paired: dict[str, str] = {}
    taken: set[str] = set()
    # Words first: in left_L1 and right_L1 the letter belongs to the name of a vertebra.
    for markers in ((_WORD,), (_WORD, _LETTER), (_LETTER,), (_NEAR,), (_LT,), (_PART,), (_FIRST,)):
        if markers == (_FIRST,) and not paired:
            break
        for name in names:
            mirrored = name
            for marker in markers:
                mirrored = marker.sub(_swapped, mirrored)
            if mirrored != name and mirrored in names and not taken & {name, mirrored}:
                paired[name] = mirrored
                taken |= {name, mirrored}
    return tuple((name, paired[name]) for name in names if name in paired)


_RIGHT = {"left": "right", "l": "r", "near": "off", "lt": "rt"}

_LETTER_MARKER = (
    r"(?<![A-Za-z])[Ll](?![A-Za-z])"  # separate
    r"|(?<![A-Za-z])l(?=[A-Z])"  # lHip
    r"|(?<![A-Z])L(?=[A-Z][a-z])"  # before a capitalized word
    r"|(?<=[a-z])L(?![A-Za-z])"  # after a word
    r"|(?<![A-Z])L(?=[FMH](?![A-Za-z]))|(?<=(?<![A-Z])[FHMR])L(?![A-Za-z])"  # foreLH, FL
    r"|(?<![A-Za-z])L(?=[A-Z]{1,2}(?![A-Za-z]))"  # LA, LFP
)
_BODY = (
    "ank|antenna|arm|brow|cheek|elb|eye|feet|fin|foot|fore|front|hand|heel|hind|hip|hock|hoof|horn|knee|kne(?![a-z])|leg"
    "|mouth|nostril|paw|sho|thigh|thumb|toe|whisker|wing|wri"
)

# Only the left name matches, so that each pair is formed once.
_WORD = re.compile("left", re.IGNORECASE)
_LETTER = re.compile(_LETTER_MARKER)
_NEAR = re.compile("(?<![A-Za-z])near", re.IGNORECASE)
_LT = re.compile("(?<![A-Za-z])lt(?![A-Za-z])", re.IGNORECASE)
_PART = re.compile(f"(?<![A-Za-z])l(?={_BODY})", re.IGNORECASE)
_FIRST = re.compile("(?<![A-Za-z])l(?=[a-z])", re.IGNORECASE)  # lear and rear, of which rear is a word of its own

# A marker that shows the side of a name alone, and those that do where a pair of the set has them too.
_SIDE = re.compile(
    r"(?i:(?<![a-z])(left|right))|(?<=[a-z])(Left|Right)|(?<![A-Za-z0-9])[LlRr](?![A-Za-z0-9])|(?<![A-Za-z])[lr](?=[A-Z])"
)
_WEAK_SIDES = (
    re.compile("(?<=[a-z])(left|right)", re.IGNORECASE),
    re.compile("(?<![A-Za-z])(lt|rt)(?![A-Za-z])", re.IGNORECASE),
    re.compile(f"{_LETTER_MARKER}|{_LETTER_MARKER.replace('L', 'R').replace('l', 'r')}"),
    re.compile(f"(?<![A-Za-z])[lr](?={_BODY}|ear)", re.IGNORECASE),
    re.compile("(?<![A-Za-z])(near|off)", re.IGNORECASE),
)


def _swapped(left: re.Match[str]) -> str:
    text = left.group()
    right = _RIGHT[text.lower()]
    return right.upper() if text.isupper() else right.capitalize() if text[0].isupper() else right
