"""DeepLabCut's tables of predictions, with scorer, bodyparts and coords as headings, as CSV and as HDF5."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.extras import require
from softpoint.inference.batch.predictions import INDIVIDUAL, Predictions, individual
from softpoint.labels.csv_io import exact, read_rows, write_rows
from softpoint.paths import atomic_write

_SCORER, _COORDS = "softpoint", ("x", "y", "likelihood")

# The group of DeepLabCut's tables, and the number of rows written at once.
_KEY, _ROWS = "df_with_missing", 256


def write_csv(path: Path, predictions: Predictions) -> None:
    """Write three header rows, or four if an image has several subjects, then one row per image or frame.

    Where subjects are followed, an individual is a track, and a subject of none is left out.
    The name of a frame is its number, as in DeepLabCut's own analyses of videos; coordinates count from the centers of
    pixels.
    """
    levels, names = _columns(predictions)
    write_rows(path, [*([level, *texts] for level, texts in zip(levels, names, strict=True)), *_lines(predictions)])


def write_h5(path: Path, predictions: Predictions) -> None:
    """Write the same table for `pandas.read_hdf`, in pandas' fixed layout, which has no pickled object."""
    named = predictions.images is not None
    rows = ((predictions.name(index) if named else index, values) for index, values in _values(predictions))
    _write_frame(path, *_columns(predictions), rows)


def write_labels_h5(path: Path, table: Path) -> None:
    """Write a CSV of `labels.formats.dlc_csv` as the HDF5 file that DeepLabCut has beside it."""
    cells = [cells for _, cells in read_rows(table)]
    depth = 1 + next(i for i, (first, *_) in enumerate(cells) if first == "coords")
    levels, names = [row[0] for row in cells[:depth]], [row[1:] for row in cells[:depth]]
    _write_frame(
        path, levels, names, ((row[0], np.array([float(c or "nan") for c in row[1:]])) for row in cells[depth:])
    )


def _write_frame(
    path: Path, levels: list[str], names: list[list[str]], rows: Iterator[tuple[int | str, np.ndarray]]
) -> None:
    """Write a table of pandas: the levels of its columns, the texts of each, and its rows by their index."""
    h5py = require("h5py", "dlc", str(path))
    with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
        _mark(file, "GROUP", PYTABLES_FORMAT_VERSION="2.1")
        group = file.create_group(_KEY)
        _mark(group, "GROUP", pandas_type="frame", encoding="UTF-8", errors="strict", axis1_variety="regular")
        group.attrs.update(ndim=np.int64(2), nblocks=np.int64(1))
        # The columns are a MultiIndex: the distinct texts of each level, and the index of each column's text in them.
        for axis in ("axis0", "block0_items"):
            _mark(group, "GROUP", **{f"{axis}_variety": "multi"})
            group.attrs[f"{axis}_nlevels"] = np.int64(len(levels))
            for number, (level, texts) in enumerate(zip(levels, names, strict=True)):
                # Sorted, because pandas looks columns up by bisection.
                distinct, codes = np.unique(np.char.encode(texts, "utf-8"), return_inverse=True)
                _array(group, f"{axis}_level{number}", distinct, kind="string", name=level, nan_rep="")
                _array(group, f"{axis}_label{number}", codes.astype(np.int32))
        index, width = list[int | str](), len(names[0])
        data = _array(group, "block0_values", np.empty((0, width)), maxshape=(None, width), chunks=(_ROWS, width))
        while chunk := list(islice(rows, _ROWS)):
            index += [name for name, _ in chunk]
            data.resize(len(index), axis=0)
            data[-len(chunk) :] = np.stack([values for _, values in chunk])
        if isinstance(index[0], str):
            _array(group, "axis1", np.char.encode(list(map(str, index)), "utf-8"), kind="string", nan_rep="")
        else:
            _array(group, "axis1", np.array(index, np.int64), kind="integer")


def _columns(predictions: Predictions) -> tuple[list[str], list[list[str]]]:
    """Return the names of the header's levels, and the text of each level for every column."""
    count, followed = predictions.individuals(), predictions.tracks is not None
    columns = [
        (_SCORER, INDIVIDUAL.format(i + 1), name, coord)
        for i in range(count)
        for name in predictions.skeleton.names
        for coord in _COORDS
    ]
    levels = ["scorer", "individuals", "bodyparts", "coords"]
    kept = [level for level in range(4) if level != 1 or count > 1 or followed]
    return [levels[level] for level in kept], [[column[level] for column in columns] for level in kept]


def _values(predictions: Predictions) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the number of each image, and x, y and likelihood (S * K * 3,) of its subjects."""
    shape = (predictions.individuals(), len(predictions.skeleton), 3)
    for rows in predictions.by_image():
        values = np.full(shape, np.nan)
        for row in rows:
            if (place := individual(row)) is not None:
                values[place] = np.concatenate([row.keypoints, row.confidence[:, None]], axis=1)
        yield rows[0].number, values.ravel()


def _lines(predictions: Predictions) -> Iterator[list[str]]:
    for index, values in _values(predictions):
        yield [predictions.name(index) if predictions.images is not None else str(index), *map(exact, values.tolist())]


def _array(group: Any, name: str, values: np.ndarray, /, maxshape: Any = None, chunks: Any = None, **texts: str) -> Any:
    stored = group.create_dataset(name, data=values, maxshape=maxshape, chunks=chunks)
    _mark(stored, "ARRAY", FLAVOR="numpy", **texts)
    stored.attrs["transposed"] = np.uint8(1)
    return stored


def _mark(node: Any, node_class: str, /, **attributes: str) -> None:
    """Write the attributes by which PyTables, which pandas uses, recognizes a node: texts of fixed length."""
    import h5py

    version = "2.4" if node_class == "ARRAY" else "1.0"
    for name, text in {"CLASS": node_class, "VERSION": version, "TITLE": "", **attributes}.items():
        dtype = h5py.string_dtype("utf-8", max(1, len(text.encode())))
        node.attrs.create(name, text.encode(), dtype=dtype)
