"""Split files: a CSV with columns image and split."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from softpoint.labels.csv_io import read_rows, write_rows
from softpoint.paths import normalize_path
from softpoint.suggest import did_you_mean

SPLITS = ("train", "val", "test")

# The split of images that belong to none of them, as data.limit leaves some.
UNUSED = "unused"

_SYNONYMS = {name: name for name in SPLITS} | {"validation": "val", "valid": "val", "dev": "val"}


def split_name(word: str) -> str | None:
    """Return train, val or test for any of its usual names; None for another word.

    >>> split_name("Validation"), split_name("images")
    ('val', None)
    """
    return _SYNONYMS.get(word.strip().lower())


def read_splits(path: str | Path, images: Sequence[str]) -> dict[str, np.ndarray]:
    """Return indices into `images` for train, val and test from a split file.

    val may be empty (see `carve_val`). An image with split "unused" is in none of them, one that the file
    lacks is an error; a row for an image that is not in `images` is only a warning, because leaving bad labels out of
    a set is good practice.
    Raises FileNotFoundError for a missing file, ValueError for anything else.
    """
    path = Path(path)
    split_of = _read(path)
    keys = [normalize_path(image) for image in images]
    if missing := [image for image, key in zip(images, keys, strict=True) if key not in split_of]:
        raise ValueError(
            f"{path} lacks {len(missing)} of {len(images)} labeled images, first {missing[0]};"
            " add their rows, or leave data.splits empty for a seeded split"
        )
    if unknown := sorted(set(split_of) - set(keys)):
        warnings.warn(
            f"{path}: {len(unknown)} of its images are left out, not being labeled; first {unknown[0]}",
            stacklevel=2,
        )
    splits = {name: np.array([i for i, key in enumerate(keys) if split_of[key] == name], int) for name in SPLITS}
    for name in ("train", "test"):
        if not len(splits[name]):
            raise ValueError(f"{path} has no {name} image among the {len(images)} labeled; it needs at least one")
    return splits


def _read(path: Path) -> dict[str, str]:
    """Return the split of each image in the file."""
    if not path.is_file():
        raise FileNotFoundError(f"split file {path} does not exist; write one, or leave data.splits empty")
    rows = read_rows(path)
    header = rows[0][1] if rows else []
    if len(header) != 2 or header[1].lower() != "split" or header[0].lower() not in ("", "image"):
        raise ValueError(f"{path}: its header is {','.join(header)!r}; it must be 'image,split' or ',split'")
    splits: dict[str, str] = {}
    lines: dict[str, int] = {}
    for line, cells in rows[1:]:
        if len(cells) != 2 or not cells[0]:
            raise ValueError(f"{path} line {line}: {cells} is not an image and its split")
        image, split = normalize_path(cells[0]), UNUSED if cells[1].lower() == UNUSED else split_name(cells[1])
        if split is None:
            hint = did_you_mean(cells[1], (*_SYNONYMS, UNUSED))
            raise ValueError(f"{path} line {line}: split {cells[1]!r}; {hint}")
        if image in splits:
            raise ValueError(f"{path}: lines {lines[image]} and {line} both place {image}; remove one")
        splits[image], lines[image] = split, line
    return splits


def write_splits(path: str | Path, images: Sequence[str], splits: Mapping[str, Sequence[int] | np.ndarray]) -> None:
    """Write a CSV that `read_splits` reads back, atomically.

    An image that several subjects share has one row: a split never divides it. Images of no split are unused.
    """
    names = {int(index): name for name, indices in splits.items() for index in indices}
    assert len(names) == sum(map(len, splits.values())) <= len(images)
    rows = {(image, names.get(index, UNUSED)): None for index, image in enumerate(images)}
    assert len(rows) == len(set(images))
    write_rows(Path(path), [("image", "split"), *rows])
