"""The HDF5 table that DeepLabCut keeps beside its CSV, read without opening any Python object in it.

pandas and PyTables would unpickle the objects in a file, which runs any code in it. Only arrays of numbers and text are
read here, and column names that are plain lists of text.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.extras import require
from softpoint.labels.formats.parsing import dlc_table
from softpoint.labels.formats.parsing.hdf5 import attribute, check_array, check_pieces
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels

DESCRIPTION = "an HDF5 file .h5 that DeepLabCut wrote with pandas"

# The opcodes of a pickle that make only lists and tuples of text.
_PLAIN = {
    "MARK", "LIST", "EMPTY_LIST", "APPEND", "APPENDS", "TUPLE", "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "PUT", "BINPUT", "GET", "BINGET", "MEMOIZE", "PROTO", "FRAME", "STOP",
}  # fmt: skip

# Bytes of all arrays as floats, each of which takes six times as many as a Python object.
_MAX_BYTES = 1 << 26

_Names = list[tuple[str, ...]]


def recognize(path: Path, head: bytes) -> bool:
    """Return whether content and suffix are HDF5's.

    >>> recognize(Path("CollectedData_anna.h5"), b"\\x89HDF\\r\\n\\x1a\\n...")
    True
    """
    return head.startswith(b"\x89HDF\r\n\x1a\n") and path.suffix.lower() in (".h5", ".hdf", ".hdf5")


def read(path: Path, errors: RowErrors, images: Path | None = None, prefix: str = "") -> Labels:
    """Return the labels; rows count from 1. Raises ValueError for a file that pandas did not write or with objects.

    `prefix` precedes the row number in every place.
    """
    names, index, values = _frame(path)
    columns = []
    for number, name in enumerate(names, 1):
        if len(name) not in (3, 4) or name[-1].lower() not in dlc_table.COORDS or not all(name):
            raise ValueError(
                f"{path} column {number} is named {', '.join(name)!r}; DeepLabCut's have scorer, perhaps individual,"
                " bodypart, and x, y or likelihood"
            )
        columns.append(dlc_table.Column(number, name[1] if len(name) == 4 else "", name[-2], name[-1].lower()))
    rows = enumerate(zip(index, values.tolist(), strict=True), 1)
    table = [(f"{prefix}row {number}", *row) for number, row in rows]
    return dlc_table.labels_of(path, columns, table, errors)


def _frame(path: Path) -> tuple[_Names, _Names, np.ndarray]:
    """Return the names of columns, the names of rows, and the values (rows, columns)."""
    h5py = require("h5py", "dlc", str(path))
    try:
        with h5py.File(path, "r") as file:
            # Links out of the file are not followed.
            parts = (file[name] for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink))
            groups = (part for part in parts if isinstance(part, h5py.Group) and "pandas_type" in part.attrs)
            if (group := next(groups, None)) is None:
                raise ValueError("it holds no table of pandas")
            _check_size(group)
            names, index, values = _from_table(group) if "table" in group else _from_blocks(group)
            if values.shape != (len(index), len(names)):
                raise ValueError(
                    f"it has {len(index)} rows and {len(names)} columns, but values of shape {values.shape}"
                )
    except FileNotFoundError:
        raise
    except Exception as error:  # h5py raises nearly anything on a damaged or hostile file
        raise ValueError(
            f"{path} cannot be read as DeepLabCut's table: {error}; copy it again, or give the CSV beside it"
        ) from error
    return names, index, values


def _from_table(group: Any) -> tuple[_Names, _Names, np.ndarray]:
    """Return the table of pandas' `format="table"`: one array of records."""
    table = _array(group, "table")
    blocks = [name for name in table.dtype.names or () if name.startswith("values_block_")]
    names = [name for block in blocks for name in _column_names(bytes(attribute(group["table"], f"{block}_kind")))]
    values = [np.asarray(table[block], dtype=np.float64).reshape(len(table), -1) for block in blocks]
    return names, [(text,) for text in _texts(table["index"])], np.concatenate(values, axis=1)


def _from_blocks(group: Any) -> tuple[_Names, _Names, np.ndarray]:
    """Return the table of pandas' `format="fixed"`: one array for each type of column."""
    names, values = [], []
    for block in range(int(attribute(group, "nblocks"))):
        array = _array(group, f"block{block}_values")
        if array.dtype.kind not in "fiu":
            raise ValueError(f"its block {block} holds {array.dtype}, not numbers")
        names += _axis(group, f"block{block}_items")
        data = group[f"block{block}_values"]
        is_transposed = "transposed" in data.attrs and attribute(data, "transposed")
        array = array if is_transposed else array.T
        values.append(array.astype(np.float64))
    return names, _axis(group, "axis1"), np.concatenate(values, axis=1)


def _axis(group: Any, name: str) -> _Names:
    """Return the names along an axis, each of one or several levels."""
    if name in group:
        return [(text,) for text in _texts(_array(group, name))]
    levels = []
    for level in range(int(attribute(group, f"{name}_nlevels"))):
        texts = _texts(_array(group, f"{name}_level{level}"))
        codes = _array(group, f"{name}_label{level}").tolist()
        levels.append([texts[code] if code >= 0 else "" for code in codes])
    return list(zip(*levels, strict=True))


def _check_size(group: Any) -> None:
    """Raise ValueError for arrays that are too large together; one of several names counts for each."""
    import h5py

    size = 0
    for name in group:
        data = group[name] if isinstance(group.get(name, getlink=True), h5py.HardLink) else None
        if isinstance(data, h5py.Dataset):
            types = [kind for kind, *_ in (data.dtype.fields or {"": (data.dtype,)}).values()]
            size += data.size * sum(max(kind.itemsize, 8 * math.prod(kind.shape)) for kind in types)
    if size > _MAX_BYTES:
        raise ValueError(f"its arrays take {size} bytes as floats, more than {_MAX_BYTES}; split it")


def _array(group: Any, name: str) -> np.ndarray:
    """Return an array of numbers, text or records; raise ValueError for objects, links, and too large arrays."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"its {name} is missing, or a link out of the file")
    data = group[name]
    if not isinstance(data, h5py.Dataset) or data.dtype.hasobject:
        raise ValueError(f"its {name} holds Python objects, which are never opened")
    check_array(name, data)
    check_pieces(name, data)
    return np.asarray(data[()])


def _texts(array: np.ndarray) -> list[str]:
    if array.ndim != 1 or array.dtype.kind not in "Siu":
        raise ValueError(f"its names are {array.dtype} of shape {array.shape}, not text")
    return [item.decode() if isinstance(item, bytes) else str(item) for item in array.tolist()]


def _column_names(pickled: bytes) -> _Names:
    """Return a list of tuples of text from its pickle; raise ValueError if it holds anything else."""
    for opcode, argument, _ in pickletools.genops(pickled):
        # A huge index into the memo would fill the memory.
        if opcode.name not in _PLAIN or (isinstance(argument, int) and argument > len(pickled)):
            raise ValueError("its column names hold Python objects, which are never opened")
    names = _PlainUnpickler(io.BytesIO(pickled)).load()
    if not isinstance(names, list) or not all(
        isinstance(n, tuple) and all(isinstance(t, str) for t in n) for n in names
    ):
        raise ValueError("its column names are not text")
    return names


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise ValueError(f"its column names refer to {module}.{name}, which is never opened")
