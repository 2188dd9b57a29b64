"""Reading of files that `torch.save` wrote, with no code run and no more memory taken than the file has bytes.

`torch.load(weights_only=True)` alone still lets a file allocate any amount of memory (`bytearray(n)`,
`torch.FloatTensor(n)`), inflate compressed entries, repeat a storage in a huge tensor, and hash nested tuples for
hours. The checks below refuse exactly these, before and after torch reads the file.
"""

from __future__ import annotations

import os
import pickletools
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

MAX_ENTRIES = 100_000  # tensors in the archive
MAX_BYTES = 1 << 26  # of the archive's directory, and of its pickle
MAX_OPCODES = 4_000_000  # of the pickle: a million labeled images by name take as many
MAX_TUPLE = 10_000  # values in a tuple and the tuples inside it
MAX_VALUES, MAX_DEPTH = 4_000_000, 64

_OPCODES = {
    "PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "BINUNICODE", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS",
    "EMPTY_DICT", "SETITEM", "SETITEMS", "GLOBAL", "REDUCE", "BUILD", "BINPERSID", "BINPUT", "BINGET", "LONG_BINPUT",
    "LONG_BINGET",
}  # fmt: skip
_DTYPES = ("Bool", "Byte", "Char", "Short", "Half", "BFloat16", "Int", "Float", "Long", "Double")
_GLOBALS = {"collections OrderedDict", "torch._utils _rebuild_tensor_v2", *(f"torch {name}Storage" for name in _DTYPES)}
_END, _END64, _LOCATOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"


def read_torch_file(path: Path) -> Any:
    """Return the tensors and plain values in a file of `torch.save`.

    Raises ValueError, in bounded time and memory, for a file of another kind, one that is cut short or compressed,
    one that names classes or functions, and tensors or values larger than the file.
    """
    with path.open("rb") as file:
        try:
            check_pickle(_read_pickle(file))
            _check_sums(file)
            file.seek(0)
            content = torch.load(file, map_location="cpu", weights_only=True)
            check_values(content)
        except Exception as error:
            # torch's own message advises loading the file with its code, so only ours is passed on.
            reason = str(error) if type(error) is ValueError else type(error).__name__
            raise ValueError(
                f"it does not load as tensors and plain values ({reason}); nothing in it was run"
            ) from error
    return content


def check_length(path: Path) -> None:
    """Raise ValueError for a file just written that `read_torch_file` refuses for the length of its archive's parts."""
    with path.open("rb") as file:
        _read_pickle(file)


def check_pickle(pickle: bytes) -> None:
    """Raise ValueError for a pickle that `torch.save` does not write for tensors and plain values.

    Values are not built: a stack holds the number of values in each tuple, which a dictionary hashes as its key, and 1
    for everything else.

    >>> check_pickle(b"\\x80\\x02}X\\x01\\x00\\x00\\x00aK\\x03s.")
    >>> check_pickle(b"\\x80\\x02cos\\nsystem\\n.")
    Traceback (most recent call last):
    ValueError: its pickle names 'os system', but only tensors and plain values are read
    """
    stack: list[int] = []
    marks: list[int] = []
    memo: dict[int, int] = {}
    try:
        argument: Any
        for count, (opcode, argument, _) in enumerate(pickletools.genops(pickle)):
            name = opcode.name
            if count >= MAX_OPCODES:
                raise ValueError(f"its pickle is longer than {MAX_OPCODES:,} operations")
            if name not in _OPCODES or (name == "PROTO" and argument != 2):
                raise ValueError(f"its pickle uses {name}, which torch.save never writes for plain values")
            if name == "GLOBAL" and argument not in _GLOBALS:
                raise ValueError(f"its pickle names {argument[:80]!r}, but only tensors and plain values are read")
            if name == "MARK":
                marks.append(len(stack))
            elif name in ("BINPUT", "LONG_BINPUT"):
                memo[argument] = stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                stack.append(memo[argument])
            else:
                _apply(opcode, stack, marks)
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise ValueError("its pickle is damaged") from error


def _apply(opcode: pickletools.OpcodeInfo, stack: list[int], marks: list[int]) -> None:
    """Take an operation's operands off the stack and put its result there."""
    operands = opcode.stack_before
    if pickletools.stackslice in operands:
        start = marks.pop() - operands.index(pickletools.markobject)
    else:
        start = len(stack) - len(operands)
    if start < (marks[-1] if marks else 0):
        raise IndexError
    taken = stack[start:]
    del stack[start:]
    size = 1 + (sum(taken) if "TUPLE" in opcode.name else 0)
    if size > MAX_TUPLE:
        raise ValueError(f"its pickle nests more than {MAX_TUPLE:,} values in one tuple")
    stack.extend(size for _ in opcode.stack_after)


def check_values(root: Any, max_values: int = MAX_VALUES) -> None:
    """Raise ValueError for values that are too many, nested too deeply or not plain.

    Plain are tensors that do not repeat their memory, text, numbers and None. A value in several places counts in each.
    """
    waiting, count = [(root, 0)], 0
    while waiting:
        node, depth = waiting.pop()
        if isinstance(node, dict | list | tuple):
            count += len(node)
            if count > max_values or depth > MAX_DEPTH:
                raise ValueError(f"it holds more than {max_values:,} values, or nests them more than {MAX_DEPTH} deep")
            waiting += [(child, depth + 1) for child in (node.values() if isinstance(node, dict) else node)]
        elif isinstance(node, torch.Tensor):
            if node.nbytes > node.untyped_storage().nbytes():
                raise ValueError(f"a tensor has {node.numel()} numbers, more than the file holds for it")
        elif not isinstance(node, str | int | float | None):  # bool is an int
            raise ValueError(f"it holds a {type(node).__name__}")


def _read_pickle(file: BinaryIO) -> bytes:
    """Return the pickle of an archive of `torch.save`; ValueError for ambiguous entries, and ones beyond the file."""
    length = file.seek(0, os.SEEK_END)
    _check_directory(file, length)
    with zipfile.ZipFile(file) as archive:
        listed = archive.infolist()
        if any(entry.filename != entry.orig_filename for entry in listed):
            raise ValueError("an entry of its archive has two names")
        entries = {entry.filename.partition("/")[2]: entry for entry in listed}
        # torch finds entries in any case of their letters, zipfile in one.
        if len({name.lower() for name in entries}) != len(listed):
            raise ValueError("two entries of its archive share a name")
        if len({entry.filename.partition("/")[0] for entry in listed}) > 1:
            raise ValueError("the entries of its archive are in several folders")
        for name, entry in entries.items():
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                raise ValueError(f"{name[:80]!r} in its archive is compressed, which torch.save never does")
        if sum(entry.file_size for entry in entries.values()) > length:
            raise ValueError("entries of its archive overlap")
        if "data.pkl" not in entries:
            raise ValueError("its archive has no data.pkl")
        if (size := entries["data.pkl"].file_size) > MAX_BYTES:
            raise ValueError(f"its values beside tensors take {size} bytes, where up to {MAX_BYTES} are read")
        if "byteorder" in entries and archive.read(entries["byteorder"]) != sys.byteorder.encode():
            raise ValueError("it was written on a machine of another byte order")
        return archive.read(entries["data.pkl"])


def _check_sums(file: BinaryIO) -> None:
    """Raise ValueError where the content of an entry has another CRC-32 than was written with it.

    torch.load does not compare them, and would return damaged weights.
    """
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as content:
                try:
                    while content.read(1 << 20):
                        pass
                except zipfile.BadZipFile as error:
                    name = entry.filename.partition("/")[2]
                    raise ValueError(
                        f"{name[:80]!r} in its archive is damaged: its bytes are not those written"
                    ) from error


def _check_directory(file: BinaryIO, length: int) -> None:
    """Raise ValueError unless the archive's directory ends the file and is of plausible length.

    zipfile and torch look for the directory in different ways; at the very end of the file they agree.
    """
    file.seek(max(0, length - 98))
    tail = file.read(98)
    if length < 22 or tail[-22:-18] != _END or tail[-2:] != b"\0\0":
        raise ValueError("it is no archive of torch.save, or is cut short")
    entries, size, start = struct.unpack("<HII", tail[-12:-2])
    end = length - 22
    if tail[-42:-38] == _LOCATOR:
        end = length - 98
        (place,) = struct.unpack("<Q", tail[-34:-26])
        if tail[:4] != _END64 or place != end:
            raise ValueError("the directory of its archive is not at its end")
        entries, size, start = struct.unpack("<QQQ", tail[32:56])
    if start + size != end or size > MAX_BYTES or entries > MAX_ENTRIES:
        raise ValueError("the directory of its archive is damaged, or of impossible length")
