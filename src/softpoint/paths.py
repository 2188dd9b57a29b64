"""Files and paths: atomic writes, digests, normalized relative paths, the cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import get_ident
from typing import IO, Any

LOCK = ".lock"  # in a folder that a command is writing to

# The number of a frame or page below a file with a suffix, or below a video in a package.
_FRAME = re.compile(r"(\.[a-zA-Z]\w*/(?:video\d+/)?)([0-9]{1,11})$")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block ends without an error; the folder is made.

    The file is written beside `path`, flushed to the disk and renamed, so that an earlier file stays until the new one
    is complete, and an error leaves nothing behind. The temporary name has the suffix of `path`, by which some
    libraries choose a format.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder, "new", "a.txt")) as temporary:
    ...         _ = temporary.write_text("hello")
    ...     [path.name for path in Path(folder, "new").iterdir()]
    ['a.txt']
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{get_ident()}.{path.name}")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        with suppress(OSError):  # a system that opens no folders
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file to the disk, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Files locked by this process.
_locked: set[IO[str]] = set()


def _close_locked() -> None:
    """Close, in a forked process, the files that the first one has locked: it would keep them locked."""
    for file in _locked:
        file.close()
    _locked.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_locked)


@contextmanager
def exclusive_lock(path: Path, wait: bool = True) -> Iterator[None]:
    """Let one process at a time into the block, by a lock on the file at `path`; all where locks do not work.

    The lock ends with this process, even where ones that it forked go on.
    Raises BlockingIOError instead of waiting for another process if `wait` is False.
    """
    with ExitStack() as stack:
        try:
            import fcntl

            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("a"))
            _locked.add(file)
            stack.callback(_locked.discard, file)
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not wait and not _is_at(file, path):  # another process removed it, having had the lock until just now
                raise BlockingIOError
        except BlockingIOError:
            raise
        except (ImportError, OSError):
            pass
        yield


def _is_at(file: IO[str], path: Path) -> bool:
    """Return whether an open file still has that path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def is_new(folder: Path) -> bool:
    """Return whether a folder does not exist, or holds nothing but a lock."""
    return not folder.exists() or (folder.is_dir() and all(path.name == LOCK for path in folder.iterdir()))


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any, indent: int | None = 2) -> None:
    """Write plain values as JSON atomically; ValueError for NaN and infinity, which JSON does not have."""
    write_text(path, json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


def without_nan(content: Any) -> Any:
    """Return plain values as JSON has them: NaN and infinity become None, tuples lists.

    >>> without_nan({"epe": float("nan"), "size": (1, 2)})
    {'epe': None, 'size': [1, 2]}
    """
    return json.loads(json.dumps(content), parse_constant=lambda _: None)


def sha256(path: Path) -> str:
    """Return the SHA-256 digest of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def normalize_path(image: str) -> str:
    """Return a relative path in one normalized spelling, to compare image paths; numbers of pages have six digits.

    >>> normalize_path(".\\\\video\\\\img1.png"), normalize_path("film.tif/3"), normalize_path("a.slp/video0/0012")
    ('video/img1.png', 'film.tif/000003', 'a.slp/video0/000012')
    """
    path = posixpath.normpath(image.strip().replace("\\", "/"))
    return _FRAME.sub(lambda match: f"{match[1]}{int(match[2]):06}", path)


def natural_key(path: Path) -> tuple[list[list[Any]], Path]:
    """Return a key that sorts paths with their numbers in order of size.

    >>> [path.name for path in sorted(map(Path, ["f10.png", "f9.png", "f09.png"]), key=natural_key)]
    ['f09.png', 'f9.png', 'f10.png']
    """

    def pieces(name: str) -> list[Any]:
        texts = re.split(r"([0-9]+)", name)  # text and digits by turns
        return [(len(t.lstrip("0")), t.lstrip("0")) if i % 2 else t for i, t in enumerate(texts)]

    return [pieces(part) for part in path.parts], path


def data_folders() -> list[Path]:
    """Return where public sets and weights are looked for: in $SOFTPOINT_DATA, in the cache folder, and in ./data."""
    named = os.environ.get("SOFTPOINT_DATA")
    return [*([Path(named)] if named else []), user_cache_dir() / "data", Path("data").absolute()]


def find_data(path: str) -> Path:
    """Return where a path below one of `data_folders` exists; where `softpoint fetch` puts it, the first, if in none.

    >>> find_data("keypoints/no-such-set/labels.csv").parts[-3:]
    ('keypoints', 'no-such-set', 'labels.csv')
    """
    places = [folder / path for folder in data_folders()]
    return next((place for place in places if place.exists()), places[0])


def user_cache_dir(folder: str | Path | None = None) -> Path:
    """Return the folder of caches: `folder`, else $SOFTPOINT_CACHE, else `softpoint` in the user's cache folder.

    >>> user_cache_dir("here").as_posix()
    'here'
    """
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder or os.environ.get("SOFTPOINT_CACHE") or Path(user) / "softpoint")
