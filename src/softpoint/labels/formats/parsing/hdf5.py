"""Checks of HDF5 files, which can state any size in a few bytes and refer to other files."""

from __future__ import annotations

import math
from typing import Any

MAX_BYTES = 1 << 30  # of a table
_MAX_TEXTS = 1_000_000  # of a table, each an object of its own when it is read
_MAX_RATIO = 1100  # bytes of an array per byte in the file, of which zlib reaches 1032
_FILTERS = {1, 2, 3, 32000}  # zlib, shuffling, checksums, LZF: whose output is bounded by what the file holds
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


def check_pieces(name: str, data: Any) -> None:
    """Raise ValueError for an array of which a piece may take more memory than a table while it is unpacked."""
    plist = data.id.get_create_plist()
    filters = {plist.get_filter(number)[0] for number in range(plist.get_nfilters())}
    if filters - _FILTERS:
        raise ValueError(f"its {name} is compressed in an unusual way; save it without compression")
    sizes = [math.prod(data.chunks) * data.dtype.itemsize] if data.chunks else []
    if filters:  # zlib unpacks all that a piece holds
        data.id.chunk_iter(lambda piece: sizes.append(_MAX_RATIO * piece.size))
    if max(sizes, default=0) > MAX_BYTES:
        raise ValueError(
            f"its {name} is stored in pieces that may take {max(sizes)} bytes; save it without compression"
        )


def attribute(part: Any, name: str) -> Any:
    """Return an attribute; KeyError without it, ValueError for one of any length, which would fill the memory."""
    if part.attrs.get_id(name).dtype.hasobject:
        raise ValueError(f"its attribute {name} has no fixed length, as HDF5 files of pandas have")
    return part.attrs[name]


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
