"""Text, numbers, keypoints and uniqueness of rows, for readers of any format."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

import numpy as np

from softpoint.labels.schema import UNLABELED, VISIBLE


def read_head(path: Path) -> bytes:
    """Return the first 64 KiB of a file, by which formats are recognized."""
    with path.open("rb") as file:
        return file.read(1 << 16)


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Return number and text, stripped, of each line that is not blank; raise ValueError for a file not in UTF-8."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as UTF-8 text ({error}); save it as UTF-8") from error
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def parse_float(text: str) -> float:
    """Return the number in a text, NaN and infinity included; ValueError for anything else, also for `1_000`.

    >>> parse_float("1.5e1")
    15.0
    """
    try:
        if "_" not in text:  # Python reads 1_000 as a number; in a table it is a typing error
            return float(text)
    except ValueError:
        pass
    raise ValueError(f"{text[:60]!r} is not a number")


def unlabeled_points(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return keypoints (K, 2) and visibility (K,) of a subject without labeled points.

    >>> unlabeled_points(1)
    (array([[nan, nan]]), array([0]))
    """
    return np.full((count, 2), np.nan), np.full(count, UNLABELED, np.int64)


def visibility_of(keypoints: np.ndarray) -> np.ndarray:
    """Return int64 (K,) for keypoints (K, 2): visible where they have coordinates, unlabeled where they are NaN.

    >>> visibility_of(np.array([[1.0, 2.0], [np.nan, np.nan]]))
    array([2, 0])
    """
    return np.where(np.isnan(keypoints).any(axis=1), UNLABELED, VISIBLE).astype(np.int64)


class UniqueRows:
    """Check that no two rows label the same: which of them is right cannot be decided.

    >>> rows = UniqueRows()
    >>> rows.add("v/a.png", "line 4", "v/a.png"); rows.add("v/a.png", "line 9", "./v/a.png")
    Traceback (most recent call last):
    ValueError: ./v/a.png is labeled in line 4 too; remove one of the two
    """

    def __init__(self) -> None:
        self._places: dict[Hashable, str] = {}

    def add(self, key: Hashable, place: str, label: str) -> None:
        """Add the row at `place`; raise a ValueError that quotes `label` if an earlier row has its key."""
        if (earlier := self._places.setdefault(key, place)) != place:
            raise ValueError(f"{label} is labeled in {earlier} too; remove one of the two")
