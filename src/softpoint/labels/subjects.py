"""A labeled subject, and the columns that many of them are kept in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from itertools import chain, islice, pairwise, repeat
from operator import attrgetter
from typing import Any, overload

import numpy as np

_BLOCK = 4096  # subjects that are made at once
_LARGEST = 2**53  # of a size: no image is that large, whatever its label file says


@dataclass(eq=False, slots=True)  # to make frozen ones takes a sixth of the time of reading a large file
class Subject:
    """One labeled subject in one image; all lengths in pixels of that image. It is replaced, never changed.

    An image in which nothing is labeled is a subject without box and points.
    """

    image: str  # path as written, relative to the folder of the images
    place: str  # of its row in the file, for messages: "line 4", "annotation 442619"
    keypoints: np.ndarray  # float64 (K, 2) as (x, y), an integer being the center of a pixel; NaN where unlabeled
    visibility: np.ndarray  # integers (K,): 0 unlabeled, 1 occluded, 2 visible
    box: tuple[float, float, float, float] | None = None  # left, top, right, bottom edges; pixel i spans i -+ 0.5
    category: str = ""  # in a file with several
    name: str = ""  # of the individual, in a file that names them
    group: str | None = None  # video, session or person; None for the folder of the image
    area: float = math.nan  # of its outline in px^2, where the file states one
    crowd: bool = False  # a box about many subjects at once, with no points of its own
    size: tuple[int, int] = (0, 0)  # height and width that the file states for the image; 0 where it does not
    written: np.ndarray | None = None  # float64 (K, 2), the coordinates in the file where these are no such pixels
    confidence: np.ndarray | None = None  # float64 (K,), scores of predicted points where the file has any; or NaN

    @property
    def row(self) -> str:
        """The place of the row that this is of, where a row has several subjects."""
        return self.place.partition(", ")[0]


# What each field is where a file does not state it; MISSING of those that every file states.
_FIELDS: dict[str, Any] = {field.name: field.default for field in fields(Subject)}

# Type, value for what is not stated, and shape of each number; 0 stands for K. All other fields are texts.
_NUMBERS: dict[str, tuple[type, float, tuple[int, ...]]] = {
    "keypoints": (np.float64, math.nan, (0, 2)),
    "visibility": (np.int8, 0, (0,)),
    "box": (np.float64, math.nan, (4,)),
    "area": (np.float64, math.nan, ()),
    "crowd": (np.bool_, False, ()),
    "size": (np.int64, 0, (2,)),
    "written": (np.float64, math.nan, (0, 2)),
    "confidence": (np.float64, math.nan, (0,)),
}

Column = Any  # a tuple of N texts, or an array (N, ...) of numbers


class Subjects(Sequence[Subject]):
    """N subjects of K keypoints in columns, from which each is made when it is asked for.

    `stated` holds the column of each field that any subject states: a tuple of texts, which are one object where they
    are equal, or an array that cannot be written to, as those of a subject are views of it.
    """

    def __init__(self, length: int, K: int, stated: Mapping[str, Column]) -> None:
        self.length, self.K, self.stated = length, K, dict(stated)
        for name, column in stated.items():
            assert len(column) == length
            if name in _NUMBERS:
                self.stated[name] = column.view()
                self.stated[name].flags.writeable = False

    @classmethod
    def of(cls, subjects: Iterable[Subject], K: int) -> Subjects:
        """Return the columns of subjects; those of an iterator are held a block at a time."""
        rest, shared, parts = iter(subjects), dict[str | None, str | None](), list[Subjects]()
        while block := list(islice(rest, _BLOCK)):
            columns = {name: _column(name, list(map(attrgetter(name), block)), K, shared) for name in _FIELDS}
            parts.append(cls(len(block), K, {name: column for name, column in columns.items() if column is not None}))
        stated = dict.fromkeys(chain.from_iterable(part.stated for part in parts))
        return cls(sum(map(len, parts)), K, {name: _joined(name, parts) for name in stated})

    def texts(self, name: str) -> tuple[Any, ...]:
        """Return the values of a field of texts, or None."""
        return tuple(self.stated[name] if name in self.stated else _unstated(name, self.length, self.K))

    def numbers(self, name: str) -> np.ndarray:
        """Return the values (N, ...) of a field of numbers, NaN in place of None."""
        return np.asarray(self.stated[name] if name in self.stated else _unstated(name, self.length, self.K))

    def select(self, rows: np.ndarray | slice) -> Subjects:
        """Return the subjects at these rows (M,), in this order; the arrays of a slice are views of these."""
        stated = {
            name: tuple(map(column.__getitem__, rows.tolist()))
            if isinstance(rows, np.ndarray) and name not in _NUMBERS
            else column[rows]
            for name, column in self.stated.items()
        }
        return Subjects(len(range(self.length)[rows]) if isinstance(rows, slice) else len(rows), self.K, stated)

    def pack_texts(self) -> None:
        """Replace all texts by equal ones, made one after another: those of a file lie scattered in what it took."""
        packed = {name: _packed(self.stated.pop(name)) for name in [*self.stated] if name not in _NUMBERS}
        self.stated |= {name: _unpacked(*parts) for name, parts in packed.items()}

    def with_keypoints(self, order: Sequence[int]) -> Subjects:
        """Return the subjects with these of their keypoints, in this order."""
        points = [name for name, (_, _, shape) in _NUMBERS.items() if shape[:1] == (0,) and name in self.stated]
        return Subjects(self.length, len(order), self.stated | {name: self.stated[name][:, order] for name in points})

    def changed(self, values: Mapping[str, Column]) -> Subjects:
        """Return the subjects with other columns of these fields."""
        columns: dict[str, Column] = {
            name: np.asarray(v, _NUMBERS[name][0]) if name in _NUMBERS else tuple(v) for name, v in values.items()
        }
        return Subjects(self.length, self.K, self.stated | columns)

    def without_labels(self, rows: np.ndarray) -> Subjects:
        """Return the subjects, of which those at `rows` are images in which nothing is labeled."""
        stated = {}
        for name, column in self.stated.items():
            if name in ("image", "place", "group", "size"):
                stated[name] = column
            elif name in _NUMBERS:
                stated[name] = np.array(column)
                stated[name][rows] = _NUMBERS[name][1]
            else:
                gone = {*rows.tolist()}
                stated[name] = tuple(_FIELDS[name] if i in gone else text for i, text in enumerate(column))
        return Subjects(self.length, self.K, stated)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Subject]:
        return chain.from_iterable(self._made(slice(i, i + _BLOCK)) for i in range(0, self.length, _BLOCK))

    @overload
    def __getitem__(self, index: int) -> Subject: ...
    @overload
    def __getitem__(self, index: slice) -> list[Subject]: ...
    def __getitem__(self, index: int | slice) -> Subject | list[Subject]:
        if isinstance(index, slice):
            return [self[row] for row in range(self.length)[index]]
        row = range(self.length)[index]
        return next(self._made(slice(row, row + 1)))

    def _made(self, rows: slice) -> Iterator[Subject]:
        stated = self.stated
        return map(
            Subject,
            *(
                _values(name, stated[name][rows]) if name in stated else repeat(empty)
                for name, empty in _FIELDS.items()
            ),
        )


def _column(name: str, values: list[Any], K: int, shared: dict[str | None, str | None]) -> Column | None:
    """Return the column of a field; None where no value is stated. Texts that are in `shared` are those objects."""
    empty = _FIELDS[name]
    if empty is None and all(value is None for value in values):
        return None
    if empty not in (None, MISSING) and values.count(empty) == len(values):
        return None
    if name == "place":  # each has its own
        return tuple(values)
    if name not in _NUMBERS:
        return tuple(map(shared.setdefault, values, values))
    dtype, blank, shape = _NUMBERS[name]
    shape = tuple(size or K for size in shape)
    if name == "size":
        values = [(min(height, _LARGEST), min(width, _LARGEST)) for height, width in values]
    if empty is None:
        nothing: np.ndarray = np.full(shape, blank, dtype)
        values = [nothing if value is None else value for value in values]
    return np.array(values, dtype).reshape(len(values), *shape)


def _unstated(name: str, length: int, K: int) -> Column:
    """Return the column of a field that no subject states."""
    if name not in _NUMBERS:
        return ("" if _FIELDS[name] is MISSING else _FIELDS[name],) * length
    dtype, blank, shape = _NUMBERS[name]
    return np.broadcast_to(np.array(blank, dtype), (length, *(size or K for size in shape)))


def _joined(name: str, parts: Sequence[Subjects]) -> Column:
    """Return the column of all parts, which lose it."""
    columns = [part.stated.pop(name, None) for part in parts]
    columns = [_unstated(name, len(p), p.K) if c is None else c for p, c in zip(parts, columns, strict=True)]
    return np.concatenate(columns) if name in _NUMBERS else tuple(chain.from_iterable(columns))


def _packed(column: tuple[str | None, ...]) -> tuple[str, np.ndarray, np.ndarray]:
    """Return the different texts as one, their ends in it from 0 on, and the text of each row; -1 for None."""
    numbers = {text: number for number, text in enumerate(dict.fromkeys(text for text in column if text is not None))}
    rows = np.fromiter((-1 if text is None else numbers[text] for text in column), np.intp, len(column))
    return "".join(numbers), np.cumsum([0, *map(len, numbers)]), rows


def _unpacked(joined: str, ends: np.ndarray, rows: np.ndarray) -> tuple[str | None, ...]:
    texts = [*(joined[start:end] for start, end in pairwise(ends.tolist())), None]
    return tuple(map(texts.__getitem__, rows.tolist()))


def _values(name: str, column: Column) -> Iterable[Any]:
    """Return the values of a field from its column."""
    if name == "box":
        return [None if math.isnan(edges[0]) else tuple(edges) for edges in column.tolist()]
    if name == "size":
        return [(height, width) for height, width in column.tolist()]
    if name in ("written", "confidence"):
        return [None if np.isnan(points).all() else points for points in column]
    values: Iterable[Any] = column.tolist() if name in ("area", "crowd") else column
    return values
