"""A reader under trial, for benchmarks/mutations.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

SECRET = "secret"  # a file that no input may open; hostile ones name it


class Target(NamedTuple):
    """A reader: it is called with the path of a file, a seed after damage, and a folder to write to."""

    name: str  # of the file that it reads
    seeds: Sequence[bytes]
    read: Callable[[Path, Path], Any]
    hostile: Sequence[bytes] = ()  # seeds that may be refused without damage
    beside: Mapping[str, bytes] = {}  # files that it needs
    limited: Callable[[Path, Path], Any] | None = (
        None  # the same in a process of its own, whose memory the system bounds
    )
