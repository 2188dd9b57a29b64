"""Free memory, by the system and by a container's limit, and memory that the process keeps."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def free_memory() -> int | None:
    """Return the bytes that this process may still take; None where the system does not state them.

    >>> free_memory() is None or free_memory() > 2**20
    True
    """
    return min((free for free in (_of_system(_MEMINFO), _of_container(_CGROUP)) if free is not None), default=None)


@cache
def keep_freed_memory() -> None:
    """Make the C library keep freed memory for the next image: up to 64 MB in each thread that reads.

    glibc gives freed memory back to the system above twice the size of the largest mapped block that was freed, which
    an image and its decoder's copy of it reach each time: 450 faults of pages for 640 x 480 pixels, 45 % of the time
    of reading a JPEG. An untouched block of the largest size that it heeds moves that limit; others ignore it.
    """
    np.empty((32 << 20) - (1 << 13), np.uint8)


def _of_system(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _of_container(cgroup: Path) -> int | None:
    """Return what control groups (version 2, 1) leave; "max" is no limit. Cached pages of files count as free."""
    for limit, used, stat in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        try:
            limit_bytes, taken = (int((cgroup / name).read_text()) for name in (limit, used))
            facts = dict(line.split() for line in (cgroup / stat).read_text().splitlines())
        except (OSError, ValueError):
            continue
        return max(0, limit_bytes - taken + int(facts.get("inactive_file", 0)))
    return None
