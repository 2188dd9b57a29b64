"""DeepLabCut's tables of predictions: scorer, bodyparts and coords above x, y and likelihood, as CSV and as HDF5."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.inference.batch.writers.rows import INDIVIDUAL, Answers
from softpoint.labels.csv_io import exact, write_rows
from softpoint.paths import atomic_write

_SCORER, _COORDS = "softpoint", ("x", "y", "likelihood")

# The group that DeepLabCut keeps its tables in, and how many rows are written at once.
_KEY, _ROWS = "df_with_missing", 256


def write_csv(path: Path, answers: Answers) -> None:
    """Writes three header rows, or four where an image has several subjects, then one row an image or frame.

    A frame is called by its number, as DeepLabCut's own analyzes of videos do; coordinates count from the centers
    of pixels.
    """
    levels, names = _columns(answers)
    write_rows(path, [*([level, *texts] for level, texts in zip(levels, names, strict=True)), *_lines(answers)])


def write_h5(path: Path, answers: Answers) -> None:
    """Writes what `pandas.read_hdf` reads as the same table, in pandas' fixed layout, which has no pickled object."""
    h5py = need_h5py()
    with atomic_write(path) as unfinished, h5py.File(unfinished, "w") as file:
        _mark(file, "GROUP", PYTABLES_FORMAT_VERSION="2.1")
        group = file.create_group(_KEY)
        _mark(group, "GROUP", pandas_type="frame", encoding="UTF-8", errors="strict")
        group.attrs.update(ndim=np.int64(2), nblocks=np.int64(1))
        for axis in ("axis0", "block0_items"):
            _write_levels(group, axis, *_columns(answers))
        _write_values(group, answers)


def need_h5py() -> Any:
    """The library; ImportError with the way to install it."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError('formats=[dlc_h5] needs h5py: pip install -e ".[dlc]"') from error
    return h5py


def _columns(answers: Answers) -> tuple[list[str], list[list[str]]]:
    """The names of the header's levels, and what each says of every column."""
    count = answers.most_subjects()
    columns = [
        (_SCORER, INDIVIDUAL.format(i + 1), name, coord)
        for i in range(count)
        for name in answers.skeleton.names
        for coord in _COORDS
    ]
    levels = ["scorer", "individuals", "bodyparts", "coords"]
    kept = [level for level in range(4) if level != 1 or count > 1]
    return [levels[level] for level in kept], [[column[level] for column in columns] for level in kept]


def _values(answers: Answers) -> Iterator[tuple[int, np.ndarray]]:
    """The number of each image, and x, y and likelihood (S * K * 3,) of its subjects."""
    shape = (answers.most_subjects(), len(answers.skeleton), 3)
    for rows in answers.by_image():
        values = np.full(shape, np.nan)
        for row in rows:
            values[row.subject] = np.concatenate([row.keypoints, row.confidence[:, None]], axis=1)
        yield rows[0].number, values.ravel()


def _lines(answers: Answers) -> Iterator[list[str]]:
    for index, values in _values(answers):
        yield [answers.name(index) if answers.images is not None else str(index), *map(exact, values.tolist())]


def _write_levels(group: Any, axis: str, levels: list[str], names: list[list[str]]) -> None:
    """A pandas MultiIndex: the different texts of each level, and which of them each column has."""
    _mark(group, "GROUP", **{f"{axis}_variety": "multi"})
    group.attrs[f"{axis}_nlevels"] = np.int64(len(levels))
    for number, (level, texts) in enumerate(zip(levels, names, strict=True)):
        # In their order as texts: pandas looks columns up by halving the list.
        different = sorted(set(texts))
        at = {text: place for place, text in enumerate(different)}
        stored = _array(group, f"{axis}_level{number}", _encoded(different))
        _mark(stored, "ARRAY", kind="string", name=level, nan_rep="")
        _array(group, f"{axis}_label{number}", np.array([at[text] for text in texts], np.int32))


def _write_values(group: Any, answers: Answers) -> None:
    """The numbers, and what the rows are called: frame numbers, or the images' paths."""
    width = len(_columns(answers)[1][0])
    _mark(group, "GROUP", axis1_variety="regular")
    data = group.create_dataset("block0_values", (0, width), np.float64, maxshape=(None, width), chunks=(_ROWS, width))
    _mark(data, "ARRAY", FLAVOR="numpy")
    data.attrs["transposed"] = np.uint8(1)
    indices: list[int] = []
    piece: list[np.ndarray] = []
    for index, values in _values(answers):
        indices.append(index)
        piece.append(values)
        if len(piece) == _ROWS:
            _extend(data, piece)
    _extend(data, piece)
    if answers.images is None:
        _mark(_array(group, "axis1", np.array(indices, np.int64)), "ARRAY", kind="integer")
    else:
        names = _encoded([answers.name(index) for index in indices])
        _mark(_array(group, "axis1", names), "ARRAY", kind="string", nan_rep="")


def _extend(data: Any, piece: list[np.ndarray]) -> None:
    if piece:
        data.resize(len(data) + len(piece), axis=0)
        data[-len(piece) :] = np.stack(piece)
        piece.clear()


def _encoded(texts: list[str]) -> np.ndarray:
    return np.array([text.encode() for text in texts])


def _array(group: Any, name: str, values: np.ndarray) -> Any:
    stored = group.create_dataset(name, data=values)
    _mark(stored, "ARRAY", FLAVOR="numpy")
    stored.attrs["transposed"] = np.uint8(1)
    return stored


def _mark(node: Any, of: str, /, **attributes: str) -> None:
    """The attributes by which PyTables, on which pandas builds, knows a node: texts of fixed length."""
    import h5py

    version = "2.4" if of == "ARRAY" else "1.0"
    for name, text in {"CLASS": of, "VERSION": version, "TITLE": "", **attributes}.items():
        kind = h5py.string_dtype("utf-8", max(1, len(text.encode())))
        node.attrs.create(name, text.encode(), dtype=kind)
