"""Scans of images: whether each decodes, its size, digest and fingerprint, computed once and remembered."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from softpoint.images import ImageFolder
from softpoint.images.channels import Channels, is_gray, luma
from softpoint.images.containers import page_names
from softpoint.images.decode import find_source
from softpoint.images.headers import EXIF_ORIENTATION, read_header, valid_orientation
from softpoint.images.thread_map import thread_map
from softpoint.paths import exclusive_lock, write_text

# The fingerprint is the signs of the lowest 16 x 16 frequencies of a 64 x 64 thumbnail, less the mean. A
# hash of 8 x 8 sees no more than the background that all images of a fixed camera share.
_THUMBNAIL, _FREQUENCIES = 64, 16

# Standard deviation of gray levels below which an image has no detail to recognize it by.
_FLAT = 2.0

# Bits that the values of 16-bit files use at most where the scale is in question: cameras have 10, 12 or 14.
_DARK = 14

# Size, digest and fingerprint, orientation, bits, pages and is_gray of a scan.
_FACTS = np.dtype("2i4, S40, S64, i1, i1, i4, i1")

_log = logging.getLogger(__name__)


class Scan(NamedTuple):
    """Facts about the pixels of one image."""

    image: str  # as in the labels
    size: tuple[int, int]  # height and width as read; 0 where it cannot be
    error: str | None  # why it cannot be read
    digest: str  # equal where all pixels are; "" where it cannot be read
    fingerprint: str  # 64 hexadecimal digits, similar where images are; "" for a flat image
    orientation: int  # of its EXIF, 1 being upright
    bits: int = 0  # that the largest value takes in a file of 16 bits; 0 for other files
    pages: int = 1  # of the file, of which the first is read
    is_gray: int = 0  # 1 where its channels are equal


class Scans(Mapping[str, Scan]):
    """Scans by their image, as rows of an array: objects would take four times the memory."""

    def __init__(self, scans: Iterable[Scan] = ()) -> None:
        by_image = {scan.image: scan for scan in scans}
        self._rows = {image: row for row, image in enumerate(by_image)}
        self._errors = {image: scan.error for image, scan in by_image.items() if scan.error is not None}
        self._facts = np.array([(scan.size, *scan[3:]) for scan in by_image.values()], _FACTS)

    def __getitem__(self, image: str) -> Scan:
        size, digest, print_, *numbers = self._facts[self._rows[image]].tolist()
        height, width = map(int, size)
        return Scan(image, (height, width), self._errors.get(image), digest.decode(), print_.decode(), *numbers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def scan(
    image_folder: ImageFolder,
    images: Sequence[str],
    memo: Path | None = None,
    known: Mapping[str, Scan] | None = None,
) -> list[Scan]:
    """Return one `Scan` for each of `images`; repeated ones are read once, and `known` ones not at all.

    `known` are those of `remembered` if they are not given. The memo is a file that recognizes an image by path, size
    and times of change; one process at a time adds to it. It is rebuilt where it is damaged, and does without where it
    cannot be written.
    """
    known = remembered(image_folder, images, memo) if known is None else known
    new = [image for image in dict.fromkeys(images) if image not in known]
    if memo is None or not new:
        scans = _scan_new(image_folder, new)
    else:
        with exclusive_lock(memo.with_suffix(".lock")):
            keys, stored = _keys(image_folder, new), _read_memo(memo, image_folder)
            scans = _recalled(keys, stored)  # another process may have filled it meanwhile
            scans |= _scan_new(image_folder, [image for image in new if image not in scans])
            _write_memo(memo, image_folder, stored, {key: scans[image] for image, key in keys.items() if key})
    return [known[image] if image in known else scans[image] for image in images]


def remembered(image_folder: ImageFolder, images: Iterable[str], memo: Path | None) -> dict[str, Scan]:
    """Return the scans that the memo holds for `images`, without reading any."""
    if memo is None or not (stored := _read_memo(memo, image_folder)):
        return {}
    return _recalled(_keys(image_folder, images), stored)


def unused_bits(scans: Iterable[Scan]) -> str:
    """Return a message where no image of 16 bits uses the upper ones, so that all would be dark; else "".

    >>> unused_bits([Scan("a.png", (8, 8), None, "", "", 1, 12), Scan("b.jpg", (8, 8), None, "", "", 1)])
    'the 16-bit images use 12 bits (a.png has the largest value), so that white is read as 15 of 255; set data.bits=12,
    or data.bits=16 if they are meant to be so dark'
    """
    brightest = max(scans, key=lambda scan: scan.bits, default=None)
    if brightest is None or not 0 < brightest.bits <= _DARK:
        return ""
    white, bits = ((1 << brightest.bits) - 1) >> 8, max(brightest.bits, 8)
    return (
        f"the 16-bit images use {brightest.bits} bits ({brightest.image} has the largest value), so that white is read"
        f" as {white} of 255; set data.bits={bits}, or data.bits=16 if they are meant to be so dark"
    )


def memo_path(image_folder: ImageFolder, folder: Path) -> Path:
    """Return the memo in `folder` for the images of one folder."""
    name = hashlib.blake2b(str(image_folder.folder.resolve()).encode(), digest_size=12).hexdigest()
    return folder / f"{name}.scans.json"


def fingerprint(pixels: np.ndarray) -> str:
    """Return 64 hexadecimal digits that hardly change where the image (H, W, C) uint8 hardly does; "" for a flat one.

    >>> slope = np.dstack([np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)] * 3)
    >>> fingerprint(slope) == fingerprint(slope + 9), fingerprint(np.zeros((8, 8, 3), np.uint8))
    (True, '')
    """
    small = cv2.resize(luma(pixels), (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32)
    if small.std() < _FLAT:
        return ""
    waves = cv2.dct(small)[:_FREQUENCIES, :_FREQUENCIES].ravel()
    waves[0] = 0  # the mean: a brighter copy is a copy
    return np.packbits(waves > 0).tobytes().hex()


def _recalled(keys: Mapping[str, str], stored: Mapping[str, Scan]) -> dict[str, Scan]:
    """Return the stored scan of each image that has one."""
    return {image: stored[key]._replace(image=image) for image, key in keys.items() if key in stored}


def _scan_new(image_folder: ImageFolder, images: Sequence[str]) -> dict[str, Scan]:
    """Return a new scan of each image."""
    return {scan.image: scan for scan in thread_map(partial(_scan_one, image_folder), images, "scanning images")}


def _scan_one(image_folder: ImageFolder, image: str) -> Scan:
    orientation, pages = 1, 1
    try:
        orientation, pages = _orientation_and_pages(image_folder.path(image), image_folder.options.channels)
        pixels, bits = image_folder.decoded(image)
    except (ValueError, FileNotFoundError) as error:
        return Scan(image, (0, 0), str(error), "", "", orientation)
    height, width = pixels.shape[:2]
    # Twice as fast as BLAKE2 on a processor with instructions for it, and as fast without.
    digest = hashlib.sha1(f"{height} {width} ".encode(), usedforsecurity=False)
    digest.update(np.ascontiguousarray(pixels).data)
    facts = orientation, bits, pages, int(is_gray(pixels))
    return Scan(image, (height, width), None, digest.hexdigest(), fingerprint(pixels), *facts)


def _orientation_and_pages(path: Path, channels: Channels) -> tuple[int, int]:
    """Return the EXIF orientation in a file's header, and the number of its pages; (1, 1) where it cannot be read."""
    if not path.is_file():  # a pipe would never answer
        return 1, 1
    try:
        with path.open("rb") as file:
            if (header := read_header(file)) is not None:
                return header.orientation, 1
            with Image.open(file, formats=("TIFF", "WEBP")) as image:
                orientation = valid_orientation(image.getexif().get(EXIF_ORIENTATION))
    except Exception:  # a damaged header raises nearly anything, and another format has none
        orientation = 1
    return orientation, len(page_names(path, channels))


def _keys(image_folder: ImageFolder, images: Iterable[str]) -> dict[str, str]:
    return {image: _key(image_folder, image) for image in images}


def _key(image_folder: ImageFolder, image: str) -> str:
    """Return path, size and times of change of an image's file; "" where there is none.

    The second time, of its inode, also tells a file that was copied here with the time of an earlier one.
    """
    try:
        path = image_folder.path(image)
        state = find_source(path).stat()
    except (OSError, ValueError):
        return ""
    return f"{path.absolute()}|{state.st_size}|{state.st_mtime_ns}|{state.st_ctime_ns}"


def _header(image_folder: ImageFolder) -> list[Any]:
    """Return what must be equal for stored scans to be valid; the first number is the version of a scan."""
    return [6, *image_folder.options.plain()]


def _read_memo(memo: Path, image_folder: ImageFolder) -> dict[str, Scan]:
    """Return the scans in the memo by key; none where it is damaged or of another version."""
    try:
        stored = json.loads(memo.read_text(encoding="utf-8"))
        if stored["made"] != _header(image_folder):
            return {}
        return {str(key): _parse(row) for key, row in stored["scans"].items()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
        return {}


def _parse(row: list[Any]) -> Scan:
    size, digest, print_, *numbers = row
    orientation, bits, pages, gray = map(int, numbers)
    height, width = map(int, size)
    if len(bytes.fromhex(digest)) != 20 or len(bytes.fromhex(print_)) not in (0, _FREQUENCIES**2 // 8):
        raise ValueError("not a scan")
    np.array(((height, width), digest, print_, orientation, bits, pages, gray), _FACTS)  # OverflowError where too large
    return Scan("", (height, width), None, digest, print_, orientation, bits, pages, gray)


def _write_memo(memo: Path, image_folder: ImageFolder, stored: dict[str, Scan], scans: dict[str, Scan]) -> None:
    """Add scans to the memo in the place of earlier ones; an image that cannot be read is tried again next time."""
    new = {key.rsplit("|", 3)[0] for key in scans}
    kept = {key: scan for key, scan in stored.items() if key.rsplit("|", 3)[0] not in new}
    rows = {key: [list(scan.size), *scan[3:]] for key, scan in {**kept, **scans}.items() if scan.error is None}
    try:
        write_text(memo, json.dumps({"made": _header(image_folder), "scans": rows}))
    except OSError as error:  # a read-only disk costs time, not the run
        _log.warning("%s cannot be written, so images will be read again the next time: %s", memo, error)
