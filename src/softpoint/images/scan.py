"""Facts about images from their pixels, computed once and remembered: what each is, and whether it can be read."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from softpoint.images import ImageFolder
from softpoint.images.containers import find
from softpoint.images.headers import known, read_header
from softpoint.images.thread_map import in_parallel
from softpoint.paths import write_text

# The fingerprint is the signs of the lowest 16 x 16 frequencies of a 64 x 64 thumbnail, less the mean. A
# hash of 8 x 8 sees no more than the background that all images of a fixed camera share.
_THUMBNAIL, _FREQUENCIES = 64, 16
_WORDS = _FREQUENCIES**2 // 64

# Gray levels of standard deviation below which an image has nothing to be recognized by.
_FLAT = 2.0

_EXIF_ORIENTATION = 0x0112

_log = logging.getLogger(__name__)


class Scan(NamedTuple):
    """What the pixels of one image say."""

    image: str  # as given
    size: tuple[int, int]  # height and width as read; 0 where it cannot be
    error: str | None  # why it cannot be read
    digest: str  # equal where all pixels are; "" where it cannot be read
    fingerprint: str  # 64 hexadecimal digits, similar where images are; "" for a flat image
    orientation: int  # what its EXIF says, 1 being upright


def scan(image_folder: ImageFolder, images: Sequence[str], memo: Path | None = None) -> list[Scan]:
    """One `Scan` for each of `images`; those repeated are read once, and those that `memo` knows not at all.

    The memo is a file that recognizes an image by path, size and time of change. It is rebuilt where it is
    damaged, and left out where it cannot be written.
    """
    seen = {} if memo is None else _remembered(memo, image_folder)
    keys = {image: _key(image_folder, image) for image in dict.fromkeys(images)}
    found = {image: seen[key]._replace(image=image) for image, key in keys.items() if key in seen}
    new = [image for image in keys if image not in found]
    for fresh in in_parallel(partial(_scan_one, image_folder), new, "looking at images"):
        found[fresh.image] = fresh
    if memo is not None and new:
        _remember(memo, image_folder, {key: found[image] for image, key in keys.items() if key})
    return [found[image] for image in images]


def memo_of(image_folder: ImageFolder, folder: Path) -> Path:
    """Where in `folder` the scans of these images are remembered: one file for each folder of images."""
    name = hashlib.blake2b(str(image_folder.folder.resolve()).encode(), digest_size=12).hexdigest()
    return folder / f"{name}.scans.json"


def _scan_one(image_folder: ImageFolder, image: str) -> Scan:
    orientation = 1
    try:
        orientation = _orientation(image_folder.path(image))
        pixels = image_folder.read(image)
    except (ValueError, FileNotFoundError) as error:
        return Scan(image, (0, 0), str(error), "", "", orientation)
    height, width = pixels.shape[:2]
    digest = hashlib.blake2b(f"{height} {width} ".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return Scan(image, (height, width), None, digest.hexdigest(), fingerprint(pixels), orientation)


def fingerprint(pixels: np.ndarray) -> str:
    """64 hexadecimal digits that hardly change where the image (H, W, 3) uint8 hardly does; "" for a flat one.

    >>> slope = np.dstack([np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)] * 3)
    >>> fingerprint(slope) == fingerprint(slope + 9), fingerprint(np.zeros((8, 8, 3), np.uint8))
    (True, '')
    """
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32)
    if small.std() < _FLAT:
        return ""
    waves = cv2.dct(small)[:_FREQUENCIES, :_FREQUENCIES].ravel()
    waves[0] = 0  # the mean: a brighter copy is a copy
    return np.packbits(waves > 0).tobytes().hex()


def _orientation(path: Path) -> int:
    """What the header says; whether the rest can be read is told elsewhere."""
    if not path.is_file():  # a pipe would never answer
        return 1
    try:
        with path.open("rb") as file:
            if (header := read_header(file)) is not None:
                return header.orientation
            with Image.open(file, formats=("TIFF", "WEBP")) as image:
                return known(image.getexif().get(_EXIF_ORIENTATION))
    except Exception:  # a damaged header raises nearly anything, and a frame of a video has none
        return 1


def _key(image_folder: ImageFolder, image: str) -> str:
    """What a memo recognizes an image by; "" where there is none."""
    try:
        path = image_folder.path(image)
        frame = find(path)
        state = (frame.container if frame else path).stat()
    except (OSError, ValueError):
        return ""
    return f"{path.absolute()}|{state.st_size}|{state.st_mtime_ns}"


def _header(image_folder: ImageFolder) -> list:
    """What must be equal for remembered scans to hold; the number changes with what a scan says."""
    return [1, image_folder.exif, image_folder.max_pixels]


def _remembered(memo: Path, image_folder: ImageFolder) -> dict[str, Scan]:
    """The scans that the memo holds; those that are not understood are left out."""
    try:
        stored = json.loads(memo.read_text(encoding="utf-8"))
        if stored["made"] != _header(image_folder):
            return {}
        return {str(key): _parse(row) for key, row in stored["scans"].items()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
        return {}


def _parse(row: list) -> Scan:
    size, digest, print_, orientation = row
    height, width = map(int, size)
    if len(bytes.fromhex(digest)) != 16 or len(bytes.fromhex(print_)) not in (0, 8 * _WORDS):
        raise ValueError("not a scan")
    return Scan("", (height, width), None, digest, print_, int(orientation))


def _remember(memo: Path, image_folder: ImageFolder, scans: Mapping[str, Scan]) -> None:
    """Written whole or not at all; what could not be read is tried again the next time."""
    rows = {
        key: [list(scan.size), scan.digest, scan.fingerprint, scan.orientation]
        for key, scan in scans.items()
        if scan.error is None
    }
    try:
        write_text(memo, json.dumps({"made": _header(image_folder), "scans": rows}))
    except OSError as error:  # a read-only disk costs time, not the run
        _log.warning("%s cannot be written, so images will be read again the next time: %s", memo, error)
