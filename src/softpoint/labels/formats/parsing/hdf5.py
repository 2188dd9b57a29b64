"""Checks of HDF5 files, which can state any size in a few bytes and refer to other files."""

from __future__ import annotations

from typing import Any

MAX_BYTES = 1 << 30  # of a table
_MAX_TEXTS = 1_000_000  # of a table, each an object of its own when it is read
_MAX_RATIO = 1100  # bytes of an array per byte in the file, of which zlib reaches 1032
_HEADER = 64  # bytes of an array so small that its description holds it


def check_table(name: str, part: Any) -> None:
    """Raise ValueError for a table whose size would fill the memory, and for one in another file of the machine."""
    if hasattr(part, "nbytes"):
        if part.dtype.kind == "O" and part.size > _MAX_TEXTS:
            raise ValueError(f"its table {name} has {part.size} entries of any length; at most {_MAX_TEXTS} are read")
        check_array(f"table {name}", part)
        if part.nbytes > MAX_BYTES and not name.endswith("/video"):
            raise ValueError(f"its table {name} has {part.nbytes} bytes, which is too large")


def check_array(name: str, data: Any) -> None:
    """Raise ValueError for an array that is in another file, or larger than its part of this one can give."""
    if data.is_virtual or data.external:
        raise ValueError(f"its {name} is stored in another file")
    if data.nbytes > _MAX_RATIO * (data.id.get_storage_size() + _HEADER):
        raise ValueError(f"its {name} of shape {data.shape} is too large for what the file holds")


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
