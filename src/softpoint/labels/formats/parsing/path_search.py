"""Search for images that a label file names by paths of another machine."""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from pathlib import Path, PurePosixPath

from softpoint.images.listing import SUFFIXES
from softpoint.paths import normalize_path

# Limits: subfolders searched beside a label file, parts of a path compared, and paths that decide on a folder.
_MAX_FOLDERS, _MAX_PARTS, _MAX_PATHS = 100, 8, 50

# The likeness from which a name is a misspelling of another, and how many are compared letter by letter.
_MIN_RATIO, _MAX_OPTIONS = 0.75, 1000
_NUMBER = re.compile(r"\d+")

_log = logging.getLogger(__name__)

# Share of the images that a folder must hold to be suggested.
_MIN_FOUND = 0.9


def tail_below(folder: Path, written: str) -> str | None:
    """Return the longest end of a path that exists below `folder`, with forward slashes; None without one.

    >>> tail_below(Path(__file__).parents[1], "C:\\\\work\\\\parsing\\\\path_search.py")
    'parsing/path_search.py'
    """
    parts = [part for part in re.split(r"[/\\]", written) if part not in ("", ".", "..")][-_MAX_PARTS:]
    for start in range(len(parts)):
        tail = "/".join(parts[start:])
        # Unlike Path.exists, this returns False for names that no file system accepts.
        if os.path.exists(os.path.join(folder, tail)):  # noqa: PTH110, PTH118
            return tail
    return None


def near_miss(folder: Path, written: str) -> str | None:
    """Return the path below `folder` that differs from a missing one in case, spaces, accents or suffix alone.

    >>> near_miss(Path(__file__).parent, "Path_Search.PY"), near_miss(Path(__file__).parent, "path_search.jpg")
    ('path_search.py', None)
    """
    return near_misses(folder, [written]).get(written)


def near_misses(folder: Path, written: Iterable[str]) -> dict[str, str]:
    """Return `near_miss` of each path that has one; a folder is listed once."""
    listings: dict[Path, dict[str, list[str]]] = {}

    def alike(place: Path, key: str) -> list[str]:
        if place not in listings:
            listings[place] = _listing(place)
        return listings[place].get(key, [])

    found = {}
    for path in written:
        place, parts = folder, normalize_path(path).split("/")
        for number, part in enumerate(parts, 1):
            names = alike(place, f"={part}") or alike(place, _plain(part))
            if not names and number == len(parts):
                stem = PurePosixPath(part).stem if PurePosixPath(part).suffix.lower() in SUFFIXES else part
                names = alike(place, f"{_plain(stem)}.*")
            if len(names) != 1:
                break
            place /= names[0]
        else:
            found[path] = place.relative_to(folder).as_posix()
    return found


def _listing(folder: Path) -> dict[str, list[str]]:
    """Return the names in a folder by their exact spelling, their plain one, and an image's without its suffix."""
    listing: dict[str, list[str]] = {}
    for name in _names(folder):
        image = PurePosixPath(name)
        keys = [f"={name}", _plain(name), *([f"{_plain(image.stem)}.*"] if image.suffix.lower() in SUFFIXES else [])]
        for key in keys:
            listing.setdefault(key, []).append(name)
    return listing


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208, names alone, of which there may be many
    except (OSError, ValueError):
        return []


class LikelyNames:
    """The images below `folder` that paths without a file are likely misspellings of.

    An image that is `labeled` by its own name is none, so that a missing frame is not taken for the next one.

    >>> LikelyNames(Path(__file__).parents[2], []).hint("fromats/parsing/path_search.py")
    '; did you mean formats/parsing/path_search.py?'
    """

    def __init__(self, folder: Path, labeled: Iterable[str]) -> None:
        self.folder, self._labeled = folder, set(labeled)
        self._hints: dict[str, str] = {}
        self._names: dict[PurePosixPath, list[str]] = {}

    def hint(self, written: str) -> str:
        """Return a phrase that ends a message; "" for a path without such an image, and for more than 50 paths."""
        if written not in self._hints and len(self._hints) < _MAX_PATHS:
            found = self._search(normalize_path(written))
            self._hints[written] = f"; did you mean {found}?" if found else ""
        return self._hints.get(written, "")

    def misspelled(self, written: str) -> str | None:
        """Return the image of a path whose letters are in another order, or whose suffix alone differs; else None.

        >>> names = LikelyNames(Path(__file__).parents[2], [])
        >>> names.misspelled("fromats/pts.py"), names.misspelled("formts/pts.py")
        ('formats/pts.py', None)
        """
        path = normalize_path(written)
        if (found := self._search(path)) is None or _NUMBER.findall(found) != _NUMBER.findall(path):
            return None
        same_stem = PurePosixPath(found).with_suffix("") == PurePosixPath(path).with_suffix("")
        return found if same_stem or sorted(found) == sorted(path) else None

    def _search(self, path: str) -> str | None:
        if path.startswith(("../", "/")):
            return None
        place, (*folders, name) = PurePosixPath(), path.split("/")
        for part in folders:
            if not os.path.isdir(self.folder / place / part):  # noqa: PTH112, False for a name that is too long
                inner = [own for own in self._listing(place) if (self.folder / place / own).is_dir()]
                part = _most_like(part, inner) or part
            place /= part
        if not os.path.isfile(self.folder / place / name):  # noqa: PTH113
            images = [own for own in self._listing(place) if PurePosixPath(own).suffix.lower() in SUFFIXES]
            name = _most_like(name, [own for own in images if str(place / own) not in self._labeled]) or name
        found = str(place / name)
        return found if found != path and found not in self._labeled and (self.folder / found).is_file() else None

    def _listing(self, place: PurePosixPath) -> list[str]:
        if place not in self._names:
            self._names[place] = _names(self.folder / place)
        return self._names[place]


def _most_like(name: str, options: Sequence[str]) -> str | None:
    """Return the option that a name is most like, of those with the same numbers if there are any; None for several."""
    numbers = [int(digits) for digits in _NUMBER.findall(name)]
    alike = [option for option in options if [int(digits) for digits in _NUMBER.findall(option)] == numbers]
    if not alike and len(options) > _MAX_OPTIONS:
        return None
    ratios = sorted(
        ((SequenceMatcher(None, name, option).ratio(), option) for option in alike or options), reverse=True
    )
    if not ratios or ratios[0][0] < _MIN_RATIO or (len(ratios) > 1 and ratios[1][0] == ratios[0][0]):
        return None
    return ratios[0][1]


def image_of_stem(folder: Path, stem: str) -> str:
    """Return the name of the only image in a folder that is called `stem`; ValueError for none or several."""
    endings = [*SUFFIXES, *map(str.upper, SUFFIXES)]
    found = sorted({name for ending in endings if (folder / (name := stem + ending)).is_file()})
    if not found:
        raise ValueError(f"no image {stem}.* lies in {folder}; set data.images to the right folder")
    if len(found) > 1:
        raise ValueError(f"{' and '.join(found)} lie in {folder}; remove one of the two")
    return found[0]


class Tails:
    """The files below `folder` that paths of another machine end in; two different paths never lead to one file.

    >>> folder = Path(__file__).parent
    >>> Tails(folder, ["a/path_search.py", "sandbox.py"])["sandbox.py"]
    'sandbox.py'
    >>> Tails(folder, ["a/path_search.py", "b/path_search.py"])["a/path_search.py"]
    Traceback (most recent call last):
    ValueError: a/path_search.py and b/path_search.py both end in path_search.py, the only such file below ...
    """

    def __init__(self, folder: Path, written: Iterable[str]) -> None:
        self.folder = folder
        self._tails = {path: tail_below(folder, path) for path in dict.fromkeys(written)}
        self._paths: dict[str | None, dict[str, str]] = {}
        for path, tail in self._tails.items():
            self._paths.setdefault(tail, {}).setdefault(normalize_path(path), path)

    def __getitem__(self, written: str) -> str:
        """Return the tail of one of the paths; FileNotFoundError without any, ValueError where it is another's too."""
        if (tail := self._tails[written]) is None:
            raise FileNotFoundError(f"{written} was not found below {self.folder}; set data.images to the right folder")
        if others := [path for key, path in self._paths[tail].items() if key != normalize_path(written)]:
            raise ValueError(
                f"{written} and {others[0]} both end in {tail}, the only such file below {self.folder}; set data.images"
                " to the folder that has both"
            )
        return tail


def folders_with(images: Sequence[str], source: Path, folder: Path) -> list[Path]:
    """Return the folders near the labels `source` and the `folder` of images below which nearly all images exist."""
    first, count = images[0], _MIN_FOUND * len(images)
    near = [folder.parent, folder.parent.parent, source, *list(source.parents)[:4]]
    for parent in (folder, source.parent, source.parent.parent):
        near += [deeper for child in _subfolders(parent) for deeper in (child, *_subfolders(child))]
    distinct = {os.path.abspath(base): base for base in reversed(near)}  # noqa: PTH100, links stay as they are
    candidates = [base for base in reversed(distinct.values()) if (base / first).is_file()]
    return [base for base in candidates if sum((base / image).is_file() for image in images) >= count]


def folder_of(path: Path, written: list[str]) -> Path:
    """Return the folder of the file, or where it has none of the images the one near it that has nearly all."""
    if not written or any(tail_below(path.parent, name) == normalize_path(name) for name in written[:_MAX_PATHS]):
        return path.parent
    folder = next(iter(folders_with(written, path.parent, path.parent)), None)
    if folder is not None:
        announce(path, folder)
    return folder or path.parent


def best_folder(folders: Sequence[Path], written: Iterable[str]) -> Path:
    """Return the first folder below which most of the paths exist, judged by 50 of them.

    Warn of one beside the first where it has no more than the names of files, which another set of images may have too.
    """
    assert folders
    paths = sorted(set(written))
    paths = paths[:: -(-len(paths) // _MAX_PATHS) or 1]
    best = max(folders, key=lambda folder: sum(tail_below(folder, path) is not None for path in paths))
    if not best.is_relative_to(folders[0]):
        tails = [(path, tail) for path in paths if (tail := tail_below(best, path)) is not None]
        if tails and all("/" not in tail and re.search(r"[/\\]", path) for path, tail in tails):
            message = "images are taken from %s, which has files named as in %s; if they are others, set data.images"
            _log.warning(message, best, tails[0][0])
    return best


def announce(source: Path, folder: Path) -> None:
    """Warn that the images of labels are taken from a folder that neither the labels nor the user name."""
    _log.warning("%s: images are taken from %s; if they are others, set data.images", source, folder)


def folders_near(source: Path) -> list[Path]:
    """Return the folders that may hold a label file's images: its own, those in it and beside it, and its parent."""
    own = source.parent
    return [own, *_subfolders(own), own.parent, *(folder for folder in _subfolders(own.parent) if folder != own)]


def _subfolders(folder: Path) -> list[Path]:
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        return [entry for entry in entries if entry.is_dir()][:_MAX_FOLDERS]
    except OSError:
        return []
