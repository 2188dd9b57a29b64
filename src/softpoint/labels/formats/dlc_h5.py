"""The HDF5 table that DeepLabCut keeps beside its CSV, read without opening any Python object in it.

pandas and PyTables would unpickle whatever a file asks for, which runs a stranger's code. Here only arrays of
numbers and text are read, and column names that are plain lists of text.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.labels.formats.parsing.dlc_table import COORDS, Column, Once, joined, layout, start_of_paths, subjects
from softpoint.labels.row_errors import RowErrors
from softpoint.labels.schema import Labels, Subject

DESCRIPTION = "an HDF5 file .h5 that DeepLabCut wrote with pandas"

# The parts of a pickle that make nothing but lists and tuples of text.
_PLAIN = {
    "MARK", "LIST", "EMPTY_LIST", "APPEND", "APPENDS", "TUPLE", "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "PUT", "BINPUT", "GET", "BINGET", "MEMOIZE", "PROTO", "FRAME", "STOP",
}  # fmt: skip

# A larger array in memory is taken for an attack, in bytes.
_LARGEST = 1 << 30

# Names of columns, names of rows, and the numbers in between.
_Frame = tuple[list[tuple[str, ...]], list[tuple[str, ...]], np.ndarray]


def recognize(path: Path, head: bytes) -> bool:
    """Whether it is HDF5 and called so.

    >>> recognize(Path("CollectedData_anna.h5"), b"\\x89HDF\\r\\n\\x1a\\n...")
    True
    """
    return head.startswith(b"\x89HDF\r\n\x1a\n") and path.suffix.lower() in (".h5", ".hdf", ".hdf5")


def read(path: Path, problems: RowErrors, prefix: str = "") -> Labels:
    """The labels; rows count from 1. Raises ValueError for a file that pandas did not write or that holds objects.

    `prefix` stands before the row in every place.
    """
    names, index, values = _frame(path)
    columns = [_column(path, i, name) for i, name in enumerate(names)]
    found: list[Subject] = []
    once, table = Once(), layout(str(path), columns)
    for row, (parts, numbers) in enumerate(zip(index, values.tolist(), strict=True), 1):
        place = f"{prefix}row {row}"
        with problems.row(place):
            image = joined(parts)
            if any(map(math.isinf, numbers)):
                raise ValueError("one of its coordinates is infinite; leave it empty for unlabeled")
            members = subjects(table, image, place, numbers)
            once.see(image, place)
            found += members
    return Labels(str(path), str(start_of_paths(path, found)), table.skeleton, tuple(found))


def _column(path: Path, position: int, name: tuple[str, ...]) -> Column:
    if len(name) not in (3, 4) or name[-1].lower() not in COORDS or not all(name):
        raise ValueError(
            f"{path} column {position + 1} is called {', '.join(name)!r}; DeepLabCut's have scorer, perhaps individual,"
            " bodypart, and x, y or likelihood"
        )
    return Column(position, name[1] if len(name) == 4 else "", name[-2], name[-1].lower())


def _frame(path: Path) -> _Frame:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f'{path} needs h5py: pip install -e ".[dlc]", or give the CSV beside it') from error
    try:
        with h5py.File(path, "r") as file:
            group = next(group for group in _groups(file))
            frame = _from_table(group) if "table" in group else _from_blocks(group)
    except FileNotFoundError:
        raise
    except StopIteration:
        raise ValueError(f"{path} holds no table of pandas; give DeepLabCut's CollectedData file") from None
    except Exception as error:  # h5py raises nearly anything on a damaged or hostile file
        raise ValueError(
            f"{path} cannot be read as DeepLabCut's table: {error}; copy it again, or give the CSV beside it"
        ) from error
    names, index, values = frame
    if values.shape != (len(index), len(names)):
        raise ValueError(f"{path} is damaged: {len(index)} rows and {len(names)} columns, but values {values.shape}")
    return frame


def _groups(file: Any) -> Iterator[Any]:
    """The tables in a file, which are groups at its top; links out of it are not followed."""
    import h5py

    for name in file:
        if isinstance(file.get(name, getlink=True), h5py.HardLink):
            group = file[name]
            if isinstance(group, h5py.Group) and "pandas_type" in group.attrs:
                yield group


def _from_table(group: Any) -> _Frame:
    """pandas' `format="table"`: one array of records."""
    table, attributes = _array(group, "table"), group["table"].attrs
    blocks = [name for name in table.dtype.names or () if name.startswith("values_block_")]
    names: list[tuple[str, ...]] = []
    for block in blocks:
        names += _names(bytes(attributes[f"{block}_kind"]))
    values = [np.asarray(table[block], dtype=np.float64).reshape(len(table), -1) for block in blocks]
    return names, [(text,) for text in _texts(table["index"])], np.concatenate(values, axis=1)


def _from_blocks(group: Any) -> _Frame:
    """pandas' `format="fixed"`: one array for each type of column."""
    names, values = [], []
    for block in range(int(group.attrs["nblocks"])):
        array = _array(group, f"block{block}_values")
        if array.dtype.kind not in "fiu":
            raise ValueError(f"its block {block} holds {array.dtype}, not numbers")
        names += _axis(group, f"block{block}_items")
        values.append(array if group[f"block{block}_values"].attrs.get("transposed") else array.T)
    return names, _axis(group, "axis1"), np.concatenate(values, axis=1).astype(np.float64)


def _axis(group: Any, name: str) -> list[tuple[str, ...]]:
    """The names along an axis, each of one or several levels."""
    if name in group:
        return [(text,) for text in _texts(_array(group, name))]
    levels = []
    for level in range(int(group.attrs[f"{name}_nlevels"])):
        texts = _texts(_array(group, f"{name}_level{level}"))
        codes = _array(group, f"{name}_label{level}").tolist()
        levels.append([texts[code] if code >= 0 else "" for code in codes])
    return list(zip(*levels, strict=True))


def _array(group: Any, name: str) -> np.ndarray:
    """An array of numbers, text or records of them; ValueError for objects, links, and what is too large."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"its {name} is missing, or a link out of the file")
    data = group[name]
    if not isinstance(data, h5py.Dataset) or data.dtype.hasobject:
        raise ValueError(f"its {name} holds Python objects, which are never opened")
    if data.is_virtual or data.external:
        raise ValueError(f"its {name} lies in another file")
    if data.size * data.dtype.itemsize > _LARGEST:
        raise ValueError(f"its {name} of shape {data.shape} is too large")
    return np.asarray(data[()])


def _texts(array: np.ndarray) -> list[str]:
    if array.ndim != 1 or array.dtype.kind not in "Siu":
        raise ValueError(f"its names are {array.dtype} of shape {array.shape}, not text")
    return [item.decode() if isinstance(item, bytes) else str(item) for item in array.tolist()]


def _names(pickled: bytes) -> list[tuple[str, ...]]:
    """A list of tuples of text from its pickle; ValueError for one that holds anything else."""
    for opcode, argument, _ in pickletools.genops(pickled):
        # A huge place in the memo would fill the memory.
        if opcode.name not in _PLAIN or (isinstance(argument, int) and argument > len(pickled)):
            raise ValueError("its column names hold Python objects, which are never opened")
    names = _Plain(io.BytesIO(pickled)).load()
    if not isinstance(names, list) or not all(
        isinstance(n, tuple) and all(isinstance(t, str) for t in n) for n in names
    ):
        raise ValueError("its column names are not text")
    return names


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise ValueError(f"its column names ask for {module}.{name}, which is never opened")
