"""Which images train, which choose the model and which are kept for the final number."""

from __future__ import annotations

import csv
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from softpoint.data.labels import same_path
from softpoint.suggest import did_you_mean

SPLITS = ("train", "val", "test")

_log = logging.getLogger(__name__)
_SYNONYMS = {name: name for name in SPLITS} | {"validation": "val", "valid": "val", "dev": "val"}


def read_splits(path: str | Path, images: Sequence[str]) -> dict[str, np.ndarray]:
    """Indices into `images` for train, val and test from a CSV with columns image and split.

    val may be empty (see `carve_val`). An image that the file lacks is an error; a row for an image that
    is not in `images` is only a warning, because leaving bad labels out of a set is good practice.
    Raises FileNotFoundError for a missing file, ValueError for anything else.
    """
    path = Path(path)
    found = _rows(path)
    wanted = [same_path(image) for image in images]
    if missing := [image for image, key in zip(images, wanted, strict=True) if key not in found]:
        raise ValueError(
            f"{path} lacks {len(missing)} of {len(images)} labelled images, first {missing[0]};"
            " add their rows, or leave data.splits empty for a seeded split"
        )
    if unknown := sorted(set(found) - set(wanted)):
        warnings.warn(
            f"{path}: {len(unknown)} of its images are left out, not being labelled; first {unknown[0]}",
            stacklevel=2,
        )
    splits = {name: np.array([i for i, key in enumerate(wanted) if found[key] == name], int) for name in SPLITS}
    for name in ("train", "test"):
        if not len(splits[name]):
            raise ValueError(f"{path} has no {name} image among the {len(images)} labelled; it needs at least one")
    return splits


def _rows(path: Path) -> dict[str, str]:
    """The split of each image in the file."""
    found: dict[str, tuple[str, int]] = {}
    for line, cells in _cells(path):
        if len(cells) != 2 or not cells[0]:
            raise ValueError(f"{path} line {line}: {cells} is not an image and its split")
        image, split = same_path(cells[0]), _SYNONYMS.get(cells[1].lower())
        if split is None:
            raise ValueError(f"{path} line {line}: split {cells[1]!r}; {did_you_mean(cells[1], _SYNONYMS)}")
        if image in found:
            raise ValueError(f"{path}: lines {found[image][1]} and {line} both place {image}; remove one")
        found[image] = (split, line)
    return {image: split for image, (split, _) in found.items()}


def _cells(path: Path) -> list[tuple[int, list[str]]]:
    """Line number and cells of every row below the header."""
    if not path.is_file():
        raise FileNotFoundError(f"split file {path} does not exist; write one, or leave data.splits empty")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV in UTF-8: {error}; save it as CSV UTF-8") from error
    rows = [(line, cells) for line, cells in rows if any(cells)]
    header = rows[0][1] if rows else []
    if len(header) != 2 or header[1].lower() != "split" or header[0].lower() not in ("", "image"):
        raise ValueError(f"{path}: its header is {','.join(header)!r}; it must be 'image,split' or ',split'")
    return rows[1:]


def write_splits(path: str | Path, images: Sequence[str], splits: Mapping[str, Sequence[int] | np.ndarray]) -> None:
    """Write a CSV that `read_splits` reads back; whole or not at all, whatever interrupts it."""
    path = Path(path)
    names = {int(index): name for name, indices in splits.items() for index in indices}
    assert sorted(names) == list(range(len(images))) and sum(map(len, splits.values())) == len(images)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("image", "split"))
            writer.writerows((image, names[index]) for index, image in enumerate(images))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def seeded_split(
    n: int, seed: int, val: float = 0.1, test: float = 0.1, groups: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Indices of `n` images for train, val and test: the same for the same seed, at least one image each.

    With three or more `groups` (one name an image: a video, a subject) each group stays in one split.
    Raises ValueError for fewer than three images or fractions that leave nothing to train on.

    >>> {name: len(indices) for name, indices in seeded_split(50, seed=0).items()}
    {'train': 40, 'val': 5, 'test': 5}
    """
    if n < len(SPLITS):
        raise ValueError(f"{n} labelled images cannot fill train, val and test; label at least {len(SPLITS)}")
    if not (0 < val < 1 and 0 < test < 1 and val + test < 1):
        raise ValueError(f"split fractions val={val} and test={test} must be above 0 and sum to less than 1")
    rng = np.random.default_rng(seed)
    units = _units(np.arange(n), groups, least=3)
    rest, held_test = _hold_out(units, max(1, round(n * test)), rng, leave=2)
    rest, held_val = _hold_out(rest, max(1, round(n * val)), rng, leave=1)
    return {name: np.sort(np.concatenate(part)) for name, part in zip(SPLITS, (rest, held_val, held_test), strict=True)}


def carve_val(
    train: np.ndarray, seed: int, fraction: float = 0.1, groups: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(train, val): val taken out of the training images by a seed, for a split file that has none.

    With `groups` (one name for each image of the whole set) whole groups are taken where there are at
    least two, or the validation images would be neighbours of training images in the same video; where
    all groups are larger than `fraction`, the smallest is taken.
    Raises ValueError for fewer than two images.
    """
    if len(train) < 2 or not 0 < fraction < 1:
        raise ValueError(
            f"cannot take a fraction {fraction} of {len(train)} training images for validation;"
            " name val images in the split file"
        )
    names = None if groups is None else [groups[index] for index in train]
    units = _units(np.asarray(train), names, least=2)
    rest, held = _hold_out(units, max(1, round(len(train) * fraction)), np.random.default_rng(seed), leave=1)
    kept, val = np.sort(np.concatenate(rest)), np.sort(np.concatenate(held))
    _log.info("%d of %d training images became validation images (seed %d)", len(val), len(train), seed)
    return kept, val


def _units(indices: np.ndarray, groups: Sequence[str] | None, least: int) -> list[np.ndarray]:
    """What a split must not divide: the groups where there are enough of them, else single images."""
    if groups is None or len(set(groups)) < least:
        return [indices[i : i + 1] for i in range(len(indices))]
    members: dict[str, list[int]] = {}
    for index, group in zip(indices, groups, strict=True):
        members.setdefault(group, []).append(int(index))
    return [np.array(part) for part in members.values()]


def _hold_out(
    units: list[np.ndarray], count: int, rng: np.random.Generator, leave: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(rest, held): random units, `count` images at most, while at least `leave` units stay.

    Where every unit is larger, the smallest is held: one long video must not take the training set along.
    """
    held: list[np.ndarray] = []
    rest: list[np.ndarray] = []
    room = count
    for unit in (units[i] for i in rng.permutation(len(units))):
        if len(unit) <= room and len(held) < len(units) - leave:
            held.append(unit)
            room -= len(unit)
        else:
            rest.append(unit)
    if not held:
        rest.sort(key=len, reverse=True)
        held.append(rest.pop())
    return rest, held
