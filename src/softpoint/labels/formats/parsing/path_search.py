"""Search for images that a label file names by paths of another machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

# Limits: subfolders searched beside a label file, parts of a path compared, and paths that decide on a folder.
_MAX_FOLDERS, _MAX_PARTS, _MAX_PATHS = 100, 8, 50


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


def best_folder(folders: Sequence[Path], written: Iterable[str]) -> Path:
    """Return the first folder below which most of the paths exist, judged by 50 of them."""
    assert folders
    paths = sorted(set(written))
    paths = paths[:: -(-len(paths) // _MAX_PATHS) or 1]
    return max(folders, key=lambda folder: sum(tail_below(folder, path) is not None for path in paths))


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
