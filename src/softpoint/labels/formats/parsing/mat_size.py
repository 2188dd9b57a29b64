"""The size of a MATLAB file's content, before a reader unpacks it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

_COMPRESSED, _HEADER = 15, 128
_MAX_BYTES = 1 << 28  # the set of MPII has 25 MB


def check_mat(path: Path) -> None:
    """Raise ValueError for a file of MATLAB 5 whose compressed parts unpack to more than any label file needs."""
    total = 0
    with path.open("rb") as file:
        order = ">" if file.read(_HEADER)[126:] == b"MI" else "<"
        while len(tag := file.read(8)) == 8:
            kind, size = struct.unpack(f"{order}II", tag)
            if kind != _COMPRESSED:
                total += size
                file.seek(size, 1)
            else:
                total += _unpacked(path, file.read(min(size, _MAX_BYTES)))
            if total > _MAX_BYTES:
                raise ValueError(f"{path} unpacks to more than {_MAX_BYTES >> 20} MiB; it is no file of labels")


def _unpacked(path: Path, content: bytes) -> int:
    """Return the size of a part, or a larger number than is allowed."""
    unpack, size = zlib.decompressobj(), 0
    try:
        while content and size <= _MAX_BYTES:
            size += len(unpack.decompress(content, 1 << 20))
            content = unpack.unconsumed_tail
    except zlib.error as error:
        raise ValueError(f"{path} is damaged ({error}); copy it again") from error
    return size
