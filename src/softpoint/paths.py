"""Paths and files: one spelling, writes that finish or leave nothing, digests, the cache folder."""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Where to write what becomes `path` when the block ends well; what an error interrupts leaves nothing behind.

    The name has the ending of `path`, by which some libraries choose a format. An earlier file stays until then.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder, "new", "a.txt")) as unfinished:
    ...         _ = unfinished.write_text("hello")
    ...     [one.name for one in Path(folder, "new").iterdir()]
    ['a.txt']
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all."""
    with atomic_write(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    """The digest of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def normalize_path(image: str) -> str:
    """One spelling for all spellings of a relative path, to compare images by.

    >>> normalize_path(".\\\\video\\\\img1.png")
    'video/img1.png'
    """
    return posixpath.normpath(image.strip().replace("\\", "/"))


def user_cache_dir(folder: str | Path | None = None) -> Path:
    """Where caches are kept: the given folder, else $SOFTPOINT_CACHE, else `softpoint` in the user's cache folder.

    >>> user_cache_dir("here").as_posix()
    'here'
    """
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder or os.environ.get("SOFTPOINT_CACHE") or Path(user) / "softpoint")
