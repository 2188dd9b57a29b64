"""Duplicate images, exact and near ones, and those that two splits share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from softpoint.images.scan import Scan
from softpoint.paths import normalize_path
from softpoint.progress import track

# Two images are nearly the same where at most this many of the 255 bits of their fingerprints differ. Measured on
# five sets: recompression, half the size, other brightness, noise and a shift by one pixel change up to 15 bits
# in 19 of 20 images; images whose keypoints lie 4 % of the diagonal apart differ in 33 bits or more.
NEAR = 20

# How many of the nearest partners an image is paired with: in a long still video all are alike.
_PARTNERS = 20
_BLOCK = 1 << 23  # of distances held at once, in bytes


class Leak(NamedTuple):
    """A held-out image that equals, or nearly equals, one of an earlier split."""

    image: str
    split: str
    twin: str
    twin_split: str
    distance: int  # differing bits of their fingerprints; 0 for identical pixels
    identical: bool


def identical(scans: Sequence[Scan]) -> list[tuple[int, ...]]:
    """Return groups of two or more images, by index, with equal pixels; spellings of one path count once.

    >>> a, b, c = (Scan(name, (4, 4), None, digest, "", 1) for name, digest in (("a", "x"), ("b", "y"), ("c", "x")))
    >>> identical([a, b, c])
    [(0, 2)]
    """
    return [tuple(group) for group in _by_digest(scans) if len(group) > 1]


def near_duplicates(scans: Sequence[Scan], distance: int = NEAR) -> list[tuple[int, int]]:
    """Return pairs (i, j), i < j, of images whose fingerprints differ in at most `distance` of 255 bits.

    Of identical images the first is compared, see `identical` for the rest. An image is paired with at most 20 of
    those before it, the nearest. Flat images have no near duplicates.
    """
    firsts = [group[0] for group in _by_digest(scans)]
    rows = np.array([index for index in firsts if scans[index].fingerprint], dtype=np.int64)
    words = _as_words([scans[i] for i in rows])
    pairs: list[tuple[int, int]] = []
    distances = chain.from_iterable(block for _, block in _distances(words, words, earlier=True))
    for row, near in enumerate(track(distances, "comparing images", len(rows))):
        earlier = np.flatnonzero(near[:row] <= distance)
        earlier = earlier[np.argsort(near[earlier], kind="stable")[:_PARTNERS]]
        pairs += [(int(i), int(rows[row])) for i in rows[np.sort(earlier)]]
    return pairs


def across_splits(scans: Sequence[Scan], splits: Mapping[str, Iterable[int]], distance: int = NEAR) -> list[Leak]:
    """Return the images that a split shares, exactly or nearly, with an earlier one in `splits`.

    Each image of the later split is listed once per earlier one, with its nearest there. `splits` holds
    indices into `scans`, train first.
    """
    members = [(name, [int(i) for i in rows]) for name, rows in splits.items()]
    leaks = []
    for later, (name, rows) in enumerate(members):
        for twin_split, twins in members[:later]:
            for row, twin, bits in _twins(scans, rows, twins, distance):
                same = scans[row].digest == scans[twin].digest
                leaks.append(Leak(scans[row].image, name, scans[twin].image, twin_split, bits, same))
    return leaks


def describe_leaks(leaks: Sequence[Leak], shown: int = 5) -> str:
    """Return a message with the number of shared images, the worst ones first, and the way out; "" for none.

    >>> print(describe_leaks([Leak("b.png", "test", "a.png", "train", 0, True)]))
    1 test image is in train too, or nearly so (1 identical): what is measured on it is remembered, not learned
      b.png (test) is identical to a.png (train)
    keep such images in one split: name splits in data.splits, or use one folder per video
    """
    if not leaks:
        return ""
    worst = sorted(leaks, key=lambda leak: (not leak.identical, leak.distance))
    lines = [f"{_counted(leaks)}: what is measured on {'it' if len(leaks) == 1 else 'them'} is remembered, not learned"]
    for leak in worst[:shown]:
        relation = "identical" if leak.identical else "nearly identical"
        lines.append(f"  {leak.image} ({leak.split}) is {relation} to {leak.twin} ({leak.twin_split})")
    if len(leaks) > shown:
        lines.append(f"  ... and {len(leaks) - shown} more")
    return "\n".join([*lines, "keep such images in one split: name splits in data.splits, or use one folder per video"])


def _twins(
    scans: Sequence[Scan], rows: Sequence[int], twins: Sequence[int], distance: int
) -> Iterator[tuple[int, int, int]]:
    """Yield each of `rows` with its nearest of `twins`, where that is near, and the number of bits between them."""
    by_digest = {scans[i].digest: i for i in reversed(twins) if scans[i].digest}
    equal = {i: by_digest[scans[i].digest] for i in rows if scans[i].digest in by_digest}
    yield from ((row, twin, 0) for row, twin in equal.items())
    rest = [i for i in rows if i not in equal and scans[i].fingerprint]
    others = [i for i in twins if scans[i].fingerprint]
    if not others:
        return
    for start, block in _distances(_as_words([scans[i] for i in rest]), _as_words([scans[i] for i in others])):
        for row, bits in enumerate(block, start):
            if bits.min() <= distance:
                yield rest[row], others[int(bits.argmin())], int(bits.min())


def _by_digest(scans: Sequence[Scan]) -> list[list[int]]:
    """Return groups of images with equal pixels, by the first index of each path: several subjects may share one."""
    groups: dict[str, dict[str, int]] = {}
    for index, scan in enumerate(scans):
        if scan.digest:
            groups.setdefault(scan.digest, {}).setdefault(normalize_path(scan.image), index)
    return [list(group.values()) for group in groups.values()]


def _as_words(scans: Sequence[Scan]) -> np.ndarray:
    """Return fingerprints as uint64 (N, 4)."""
    return np.frombuffer(bytes.fromhex("".join(scan.fingerprint for scan in scans)), np.uint64).reshape(-1, 4)


def _distances(rows: np.ndarray, columns: np.ndarray, earlier: bool = False) -> Iterator[tuple[int, np.ndarray]]:
    """Yield start and differing bits uint8 (B, M) of blocks of `rows` (N, 4) against `columns` (M, 4).

    With `earlier`, only columns up to the block's end.
    """
    step = max(1, _BLOCK // max(1, 8 * len(columns)))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        others = columns[: start + step] if earlier else columns
        bits = np.zeros((len(block), len(others)), np.uint8)  # 255 at most, that of the mean being always 0
        for word in range(4):
            bits += np.bitwise_count(block[:, word, None] ^ others[None, :, word])
        yield start, bits


def _counted(leaks: Sequence[Leak]) -> str:
    """Return the number of images that each two splits share."""
    parts = []
    for split, twin_split in dict.fromkeys((leak.split, leak.twin_split) for leak in leaks):
        shared = [leak for leak in leaks if (leak.split, leak.twin_split) == (split, twin_split)]
        what = f"{split} image is" if len(shared) == 1 else f"{split} images are"
        same = sum(leak.identical for leak in shared)
        parts.append(f"{len(shared)} {what} in {twin_split} too, or nearly so ({same} identical)")
    return ", ".join(parts)
