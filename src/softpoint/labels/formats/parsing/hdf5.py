"""Checks of HDF5 files, which can state any size in a few bytes and refer to other files."""

from __future__ import annotations

from typing import Any

MAX_BYTES = 1 << 30  # of a table


def check_table(name: str, part: Any) -> None:
    """Raise ValueError for a table whose size would fill the memory, and for one in another file of the machine."""
    if hasattr(part, "nbytes"):
        if part.external or part.is_virtual:
            raise ValueError(f"its table {name} is stored in another file")
        if part.nbytes > MAX_BYTES and not name.endswith("/video"):
            raise ValueError(f"its table {name} has {part.nbytes} bytes, which is too large")


def part_of(group: Any, key: str) -> Any:
    """Return a part of a group, through links within the file; KeyError without it, ValueError for another file's."""
    import h5py

    if isinstance(group.get(key, getlink=True), h5py.ExternalLink):
        raise ValueError(f"its part {key} is in another file")
    part = group[key]
    if part.file.filename != group.file.filename:
        raise ValueError(f"its part {key} is in another file")
    check_table(key, part)
    return part
