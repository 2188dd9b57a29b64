"""Where images lie that a label file names by paths of the machine it was written on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

# How many folders beside a label file are searched, how many parts of a written path are compared, and how many
# paths decide on a folder.
_FOLDERS, _PARTS, _PATHS = 100, 8, 50


def tail_below(folder: Path, written: str) -> str | None:
    """The longest end of a written path that exists below `folder`, with forward slashes; None without one.

    >>> tail_below(Path(__file__).parents[1], "C:\\\\data\\\\parsing\\\\path_search.py")
    'parsing/path_search.py'
    """
    parts = [part for part in re.split(r"[/\\]", written) if part not in ("", ".", "..")][-_PARTS:]
    for start in range(len(parts)):
        tail = "/".join(parts[start:])
        # Unlike Path.exists, this answers even for names that no file system takes.
        if os.path.exists(os.path.join(folder, tail)):  # noqa: PTH110, PTH118
            return tail
    return None


def best_folder(folders: Sequence[Path], written: Iterable[str]) -> Path:
    """The first folder below which the most of the written paths, or of 50 among them, are found."""
    assert folders
    paths = sorted(set(written))
    paths = paths[:: -(-len(paths) // _PATHS) or 1]
    return max(folders, key=lambda folder: sum(tail_below(folder, path) is not None for path in paths))


def folders_near(source: Path) -> list[Path]:
    """Where the images of a label file may be: its folder, those in it and beside it, and the folder above."""
    here = source.parent
    return [here, *_inside(here), here.parent, *(folder for folder in _inside(here.parent) if folder != here)]


def _inside(folder: Path) -> list[Path]:
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        return [entry for entry in entries if entry.is_dir()][:_FOLDERS]
    except OSError:
        return []
