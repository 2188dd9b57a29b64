"""Groups that file names show: the frames of one video or track, the images of one person, in a folder of many."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from softpoint.images.video import VIDEO_SUFFIXES

_DATE = r"(?:19|20)\d\d(?P<d{0}>[-_.]?)(?:0[1-9]|1[0-2])(?P=d{0})(?:0[1-9]|[12]\d|3[01])"
_TIME = (
    _DATE.format(0) + r"(?:\s+at\s+|[-_ T.])?(?:[01]\d|2[0-3])[-_.:h]?[0-5]\d[-_.:m]?[0-5]\d(?:[-_.]?\d{1,6})?(?!\d)"
)
_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_HASH = r"(?<![^\W_])(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}(?![^\W_])"
# Pieces of a name that count or identify, dates among them, and words.
_PIECES = rf"(?P<number>{_UUID}|{{time}}{_HASH}|{_DATE.format(1)}(?!\d)|\d+)|(?P<word>[^\W\d_]+)"
_TIMED, _UNTIMED = (re.compile(_PIECES.replace("{time}", time)) for time in (f"{_TIME}|", ""))
_DATE_AND_SIX = re.compile(rf"{_DATE.format(0)}[-_]\d{{6}}(?!\d)")

# Ends of names that tell no group: of Roboflow's copies of an image, of copied files, of the views of one moment.
_EXPORTED = re.compile(r"[-_.](?:jpe?g|png|bmp|tiff?|webp)\.rf\.\w+$", re.IGNORECASE)
_COPY = re.compile(r"(?<=\d) ?\(\d+\)$")
_VIEW = re.compile(r"(?<=\d)[-_. ]?(?:left|right|top|bottom|side|front|back|l|r)$", re.IGNORECASE)
_VIDEO = re.compile(rf".*[-_.](?:{'|'.join(s.removeprefix('.') for s in VIDEO_SUFFIXES)})(?=[-_.: ])", re.IGNORECASE)

_FRAME = re.compile(r"(?i:frame|frm|fr|image|img|f)")
# An object in a frame, whose number comes first.
_OBJECT = re.compile(rf"(?:^|[-_ ])(?:{_FRAME.pattern}[-_. ]*\d+|\d{{5,}})[-_]([^\W\d_]+[-_]?\d+)$")
# A word and one letter that together are a name: clipA.
_LETTERED = re.compile(
    r"(?:.*[-_ ])?(?:clip|vid|video|cam|camera|session|subj?|subject|person|track|id|animal|mouse|rat|fly|fish|bee"
    r"|trial|take|day|seq|sequence|scene|rec|recording|run)[-_ ]?[a-z]",
    re.IGNORECASE,
)
# A first and a last name, with what may stand between: Vincent_van_Gogh, Shaquille_O'Neal.
_PERSON = re.compile(r"[^\W\d_a-z][\w'.]*(?:[-_ ][\w'.]+)*[-_ ][^\W\d_a-z][\w'.]*")
# Keys that are no group: names that cameras give, years, and classes of WordNet.
_CAMERA = re.compile(r"(IMG|DSC[NF]?|PXL|DJI|GOPR|P|VID|MVI|WA)[-_ ]?")
_NO_GROUP = re.compile(rf"(?:(?:19|20)\d\d|n\d{{8}}|(?:{_CAMERA.pattern})+{_DATE.format(0)}.*)")
# Words of splits, kinds and counters: alone, or with a number as in train2017 and class_3, they name no group.
_KINDS = re.compile(
    r"(?:.*[-_ ])?(?:train|training|val|valid|validation|test|testing|dev|class|label|cls|category|type|synthetic|real"
    r"|left|right|image|img|im|frame|photo|pic|picture)[-_ ]?\d*",
    re.IGNORECASE,
)
_ENOUGH = 6  # groups, from which on coarser ones are preferred
_MAX_PERSON = 20  # images of one, on average: a class has more


class NameGroups(NamedTuple):
    """The group of each file name; `certain` where it is no class of objects (anna_1 may be a person or a breed)."""

    keys: list[str]
    certain: bool


class _Name(NamedTuple):
    """What a name says: the beginnings that may name its group, the coarsest first, and its counter."""

    stem: str
    levels: tuple[str, ...]
    object: str
    last: str  # number at the end, of an object if a word is joined to it; else ""


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


def find_name_groups(stems: Sequence[str]) -> NameGroups | None:
    """Return the groups of the file names, without suffixes, of one folder; None where they show none.

    A group is what comes before the counter at the end of a name: the coarsest beginning that ends in a number and
    gives six groups, of at most half of the images, or else that which gives most. A time, a hash and the number of a
    camera's photo count as one number each. Groups make sense where there are two or more, where most images are of one
    with others, and where none has nearly all.

    >>> find_name_groups([f"cam1_track{t}_frame{i:04}" for t in "12" for i in range(3)]).keys[::3]
    ['cam1_track1', 'cam1_track2']
    >>> find_name_groups([f"{breed}_{i}" for breed in ("Abyssinian", "beagle") for i in range(9)]).certain
    False
    >>> find_name_groups([f"IMG_{i}" for i in range(9)]), find_name_groups([f"{i:012}" for i in range(0, 99, 9)])
    (None, None)
    """
    dated = [_DATE_AND_SIX.search(stem) for stem in stems]
    timed = all(re.match(_TIME, match[0]) for match in dated if match)
    names = [_parsed(stem, _TIMED if timed else _UNTIMED) for stem in stems]
    found = [keys for level in range(max(len(name.levels) for name in names)) if (keys := _at(names, level))]
    if sure := [keys for keys in found if _certain(keys, names)]:
        sizes = [Counter(keys).values() for keys in sure]
        enough = [len(size) >= _ENOUGH and 2 * max(size) <= len(names) for size in sizes]
        best = enough.index(True) if any(enough) else max(range(len(sure)), key=lambda i: len(sizes[i]))
        return NameGroups(sure[best], True)
    objects = [name.object or name.stem for name in names]
    if all(name.object for name in names) and len(set(objects)) ** 2 < len(names) and _sensible(objects):
        return NameGroups(objects, True)
    if _sensible(copies := [name.stem for name in names]):
        return NameGroups(copies, True)
    words = [re.split(r"[-_. ]*\d", name.stem, maxsplit=1)[0] or name.stem for name in names]
    possible = [keys for keys in (*found, words) if _sensible(keys) and not any(map(_names_kind, keys))]
    return NameGroups(possible[0], False) if possible else None


def _parsed(stem: str, pieces: re.Pattern[str]) -> _Name:
    stem = _VIEW.sub("", _COPY.sub("", _EXPORTED.sub("", stem)))
    tokens = list(pieces.finditer(stem))
    numbers = [token for token in tokens if token["number"]]
    if video := _VIDEO.match(stem):
        return _Name(stem, (*_beginnings(stem, numbers, video.end()), video[0]), "", "")
    found = _OBJECT.search(stem)
    frames = [word for word, number in pairwise(tokens) if _counts(word, number, stem) and word.start()]
    if not numbers or (found and not frames):
        return _Name(stem, (), found[1] if found else "", "")
    cut = (frames or numbers)[-1].start()
    whole = stem[:cut].rstrip("-_. :")
    levels = [level for level in _beginnings(stem, numbers, cut) if level != whole]
    last = numbers[-1][0] if not frames and whole[-1:].isalpha() else ""
    return _Name(stem, (*levels, whole) if whole else (), found[1] if found else "", last)


def _beginnings(stem: str, numbers: Sequence[re.Match[str]], end: int) -> list[str]:
    return [stem[: number.end()] for number in numbers if number.end() <= end]


def _counts(word: re.Match[str], number: re.Match[str], stem: str) -> bool:
    """Return whether a word says that the number after it is that of a frame; a lone f must stand right before it."""
    between = stem[word.end() : number.start()]
    is_frame = bool(word["word"] and number["number"] and _FRAME.fullmatch(word[0]))
    return is_frame and not between.strip("-_. ") and (len(word[0]) > 1 or not between)


def _at(names: Sequence[_Name], level: int) -> list[str]:
    """Return the beginnings of a level, or of the finest before it; empty where they make no sensible groups."""
    keyed = [name for name in names if name.levels]
    keys = [name.levels[min(level, len(name.levels) - 1)] if name.levels else name.stem for name in names]
    if 5 * len(keyed) < 4 * len(names) or not (_sensible(keys) or _are_persons(keys, names)):
        return []
    # The number of a frame comes first where that of an object, after a word, takes fewer values.
    ends = {match[0] for key in keys if (match := re.search(r"(?<![^\W_])(?<![^\W\d_][-_ ])\d+(?=\D*$)", key))}
    last = {name.last for name in names}
    return [] if "" not in last and len(last) < len(ends) else keys


def _sensible(keys: Sequence[str]) -> bool:
    """Return whether there are groups, of which most images share one with others, and none has nearly all images."""
    sizes = Counter(keys).values()
    shared = sum(size for size in sizes if size > 1)
    return len(sizes) > 1 and 4 * max(sizes) <= 3 * len(keys) <= 6 * shared


def _certain(keys: Sequence[str], names: Sequence[_Name]) -> bool:
    sure = sum(map(_names_group, keys))
    return 10 * sure >= 9 * len(keys) or _are_persons(keys, names)


def _names_group(key: str) -> bool:
    """Return whether a key can only be the name of one thing: it has a number, or the letter of one.

    >>> [_names_group(key) for key in ("trackedBee_12", "clipA", "Abyssinian", "2007", "COCO_val2014", "n02085620")]
    [True, True, False, False, False, False]
    """
    named = bool(re.search(r"\d", key)) or bool(_LETTERED.fullmatch(key)) or bool(_VIDEO.match(f"{key}-"))
    return named and not _NO_GROUP.fullmatch(key) and not _names_kind(key)


def _names_kind(key: str) -> bool:
    return bool(_KINDS.fullmatch(key) or _CAMERA.fullmatch(key) or _NO_GROUP.fullmatch(key))


def _are_persons(keys: Sequence[str], names: Sequence[_Name]) -> bool:
    """Return whether the keys are first and last names, of many persons with few images each (LFW)."""
    single = sum(bool(_PERSON.fullmatch(key)) for key in keys) >= 0.9 * len(keys)
    few = 1 < len(set(keys)) < len(keys) <= _MAX_PERSON * len(set(keys))
    return single and few and max(len(name.levels) for name in names) == 1
