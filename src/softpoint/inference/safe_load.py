"""Reads what `torch.save` wrote, running nothing and taking no more memory than the file itself has."""

from __future__ import annotations

import os
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from softpoint.inference.outline import check_outline

_MOST_ENTRIES = 100_000
_MOST_BYTES = 1 << 26  # of the table of contents, and of the description of the content
_END, _END64, _LOCATOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"


def read_torch_file(path: Path) -> Any:
    """The tensors and plain values of a file that `torch.save` wrote.

    Raises ValueError, in bounded time and memory, for anything else: another kind of file, one that is cut short or
    compressed, objects of classes, and tensors that the file does not hold in full.
    """
    with path.open("rb") as file:
        try:
            _check_archive(file)
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            # torch's own message advises to load the file with its code, so only ours is passed on.
            why = str(error) if type(error) is ValueError else type(error).__name__
            raise ValueError(f"it does not load as tensors and plain values ({why}); nothing in it was run") from error


def _check_archive(file: BinaryIO) -> None:
    """ValueError unless the file is an archive as torch writes them, whose entries lie in it as they are."""
    length = file.seek(0, os.SEEK_END)
    _check_contents(file, length)
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
        if len(entries) != len(archive.infolist()):
            raise ValueError("entries of its archive share a name")
        for name, entry in entries.items():
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                raise ValueError(f"{name[:80]!r} in its archive is compressed, which torch.save never does")
        if sum(entry.file_size for entry in entries.values()) > length:
            raise ValueError("entries of its archive overlap")
        if "data.pkl" not in entries or entries["data.pkl"].file_size > _MOST_BYTES:
            raise ValueError("its archive lacks a description of its content, or has one of impossible length")
        if "byteorder" in entries and archive.read(entries["byteorder"]) != sys.byteorder.encode():
            raise ValueError("it was written on a machine of another byte order")
        sizes = {name.removeprefix("data/"): entry.file_size for name, entry in entries.items()}
        check_outline(archive.read(entries["data.pkl"]), sizes)


def _check_contents(file: BinaryIO, length: int) -> None:
    """ValueError unless the archive's table of contents is whole, at the file's end, and not absurdly long.

    Readers of archives differ in where they look for it; at the very end, they agree.
    """
    file.seek(max(0, length - 98))
    tail = file.read(98)
    if length < 22 or tail[-22:-18] != _END or tail[-2:] != b"\0\0":
        raise ValueError("it is no archive of torch.save, or is cut short")
    entries, size, start = struct.unpack("<HII", tail[-12:-2])
    end = length - 22
    if tail[-42:-38] == _LOCATOR:
        end = length - 98
        (found,) = struct.unpack("<Q", tail[-34:-26])
        if tail[:4] != _END64 or found != end:
            raise ValueError("the table of contents of its archive is not at its end")
        entries, size, start = struct.unpack("<QQQ", tail[32:56])
    if start + size != end or size > _MOST_BYTES or entries > _MOST_ENTRIES:
        raise ValueError("the table of contents of its archive is damaged, or of impossible length")
