"""Images decoded once, with their pixels in memory or in one file that every process maps."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import mmap
import os
import shutil
import tempfile
import weakref
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import PIL

from softpoint.images import ImageFolder
from softpoint.images.decode import find_source
from softpoint.images.decode_errors import NoProcessError
from softpoint.images.memory import free_memory
from softpoint.images.thread_map import thread_map
from softpoint.paths import atomic_write, exclusive_lock, normalize_path, user_cache_dir
from softpoint.suggest import check_choice

_FORMAT = "softpoint pixels 4"

# Bytes of the header on disk; a page, so that images start on one.
_HEADER = 4096

# Share of the free memory or disk that a cache may take: training needs some as well.
_SHARE = 0.8

_log = logging.getLogger(__name__)

Place = tuple[int, int, int]  # offset in bytes, height, width


class Stored(NamedTuple):
    """A cache on disk: the images that it was made of, and the CRC-32 of the pixels at each offset."""

    image_folder: ImageFolder
    path: Path
    checksums: dict[int, int]


class PixelCache:
    """A reader of decoded images: read-only views on pixels that all processes share.

    Forked and spawned workers get the same pixels, not a copy. `open` makes one. Each process proves the pixels of an
    image on disk when it first reads them, and decodes the image again where they are damaged.
    """

    def __init__(
        self, places: Mapping[str, Place], channels: int, number: int, offset: int, stored: Stored | None = None
    ) -> None:
        """Take over the open file `number`, whose pixels start at `offset` bytes."""
        self.places, self._number, self._offset, self._stored = dict(places), number, offset, stored
        self.channel_count = channels
        self._proved: set[int] = set()
        weakref.finalize(self, os.close, number)
        self._pixels = np.frombuffer(mmap.mmap(number, 0, prot=mmap.PROT_READ), np.uint8)[offset:]

    @classmethod
    def open(
        cls,
        image_folder: ImageFolder,
        images: Sequence[str],
        sizes: np.ndarray,
        kind: str,
        folder: str | Path | None = None,
    ) -> PixelCache:
        """Return the pixels of `images`, of height and width `sizes` (N, 2); `kind` is "ram" or "disk".

        On disk they are kept in `folder` (see `user_cache_dir`) and reused as long as no image has changed.
        Raises ValueError where they do not fit, and as `read_image` does.
        """
        check_choice("data.cache", kind, ("ram", "disk"))
        channels = image_folder.channel_count
        places, total = _places(images, sizes, channels)
        if kind == "ram":
            return cls(places, channels, _in_memory(image_folder, places, total), 0)
        number, stored = _on_disk(image_folder, places, total, user_cache_dir(folder))
        return cls(places, channels, number, _HEADER, stored)

    def read(self, image: str) -> np.ndarray:
        """Return pixels, uint8 (H, W, C), as a view that cannot be written to."""
        offset, height, width = self.places[image]
        shape = height, width, self.channel_count
        pixels = self._pixels[offset : offset + math.prod(shape)]
        if self._stored is not None and offset not in self._proved:
            if zlib.crc32(pixels.data) != self._stored.checksums[offset]:
                self._mend(self._stored, image)
            self._proved.add(offset)
        return pixels.reshape(shape)

    def _mend(self, stored: Stored, image: str) -> None:
        """Decode an image into its damaged place; ValueError where the file cannot be written, or differs by now."""
        place = self.places[image]
        _log.warning("%s: the pixels of %s are damaged, and are decoded again", stored.path, image)
        with stored.path.open("r+b") as file:
            checksum = _fill_one(stored.image_folder, image, place, file.fileno(), _HEADER)
        if checksum != stored.checksums[place[0]]:
            raise ValueError(f"{image} has changed since {stored.path} was made of it; start again")

    def __getstate__(self) -> dict[str, Any]:
        from multiprocessing.reduction import DupFd  # hands the open file itself to the other process

        return {
            "file": DupFd(self._number),
            "rest": (self._offset, self._stored),
            "head": (self.places, self.channel_count),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(*state["head"], state["file"].detach(), *state["rest"])  # type: ignore[misc]


def _places(images: Sequence[str], sizes: np.ndarray, channels: int) -> tuple[dict[str, Place], int]:
    """Return each image's place in the buffer, and the buffer's length; two spellings of a path share a place."""
    places: dict[str, Place] = {}
    by_path: dict[str, Place] = {}
    total = 0
    for image, (height, width) in sorted(zip(images, np.asarray(sizes).tolist(), strict=True)):
        if (path := normalize_path(image)) not in by_path:
            by_path[path] = (total, height, width)
            total += channels * height * width
        places[image] = by_path[path]
    return places, total


def _in_memory(image_folder: ImageFolder, places: Mapping[str, Place], total: int) -> int:
    """Return an open file in memory that holds the pixels."""
    free = free_memory()
    if free is not None and total > _SHARE * free:
        raise ValueError(
            f"data.cache=ram needs {_gib(total)} for {len(places)} images, and {_gib(free)} of memory are free;"
            " set data.cache=disk"
        )
    number = _anonymous()
    try:
        os.truncate(number, max(total, 1))
        _fill(image_folder, places, number, 0)
    except BaseException as error:
        os.close(number)
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError | NoProcessError):
            raise ValueError(f"data.cache=ram cannot keep {_gib(total)} ({error}); set data.cache=disk") from error
        raise
    return number


def _anonymous() -> int:
    """Return an open file without a name: in memory, or in the temporary folder on systems without such files."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("softpoint")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _on_disk(image_folder: ImageFolder, places: Mapping[str, Place], total: int, folder: Path) -> tuple[int, Stored]:
    """Return an open file on disk that holds the pixels, and what proves them; it is made where there is none."""
    header = _header(image_folder, places)
    contents = [str(image_folder.folder.resolve()), *image_folder.options.plain(), sorted(places)]
    # Named by what is cached, not by its state: what is out of date is replaced, and does not pile up.
    path = folder / f"{_digest(contents)[:32]}.pixels"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(path.with_suffix(".lock")):
            if (checksums := _read_checksums(path, header, places, total)) is None:
                checksums = _build(image_folder, places, path, header, total)
            return os.open(path, os.O_RDONLY), Stored(image_folder, path, checksums)
    except (FileNotFoundError, NoProcessError):  # of an image
        raise
    except OSError as error:
        raise ValueError(
            f"data.cache=disk cannot use {folder} ({error}); name another folder by data.cache_dir or"
            " SOFTPOINT_CACHE, or set data.cache=none"
        ) from error


def _header(image_folder: ImageFolder, places: Mapping[str, Place]) -> bytes:
    """Return a header that changes when an image does, its place, or a library that decodes it."""
    states = []
    for image, place in places.items():
        status = find_source(image_folder.path(image)).stat()
        states.append((image, place, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    digest = _digest([states, cv2.__version__, PIL.__version__])
    return f"{_FORMAT}\n{digest}\n".encode().ljust(_HEADER, b"\0")


def _read_checksums(path: Path, header: bytes, places: Mapping[str, Place], total: int) -> dict[int, int] | None:
    """Return the CRC-32 at each offset of a cache; None where it is out of date or damaged beside its pixels.

    They are the end of the file, and followed by their own.
    """
    offsets = sorted({offset for offset, *_ in places.values()})
    length = 4 * len(offsets)
    try:
        with path.open("rb") as file:
            if file.read(_HEADER) != header or path.stat().st_size != _HEADER + total + length + 4:
                return None
            file.seek(_HEADER + total)
            end = file.read()
    except OSError:
        return None
    if zlib.crc32(end[:length]) != int.from_bytes(end[length:], "little"):
        _log.warning("%s is damaged, and is made again", path)
        return None
    return dict(zip(offsets, np.frombuffer(end[:length], "<u4").tolist(), strict=True))


def _build(
    image_folder: ImageFolder, places: Mapping[str, Place], path: Path, header: bytes, total: int
) -> dict[int, int]:
    """Write a cache, and return the CRC-32 of the pixels at each offset."""
    needed = _HEADER + total
    free = shutil.disk_usage(path.parent).free
    if needed > _SHARE * free:
        raise ValueError(
            f"data.cache=disk needs {_gib(needed)} for {len(places)} images, and {_gib(free)} are free in"
            f" {path.parent}; name another folder by data.cache_dir, or set data.cache=none"
        )
    _log.info("decoding %d images into %s, %s", len(places), path, _gib(needed))
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        os.truncate(file.fileno(), needed)
        _write(file.fileno(), header, 0)
        checksums = dict(sorted(_fill(image_folder, places, file.fileno(), _HEADER).items()))
        end = np.array(list(checksums.values()), "<u4").tobytes()
        _write(file.fileno(), end + zlib.crc32(end).to_bytes(4, "little"), needed)
    return checksums


def _fill(image_folder: ImageFolder, places: Mapping[str, Place], number: int, offset: int) -> dict[int, int]:
    """Write each image to its place in the file, and return the CRC-32 of the pixels at each offset."""
    unique = {place: image for image, place in places.items()}

    def fill(item: tuple[Place, str]) -> tuple[int, int]:
        place, image = item
        return place[0], _fill_one(image_folder, image, place, number, offset)

    return dict(thread_map(fill, unique.items(), "decoding images"))


def _fill_one(image_folder: ImageFolder, image: str, place: Place, number: int, offset: int) -> int:
    """Write an image to its place in the file, and return the CRC-32 of its pixels."""
    start, height, width = place
    pixels = np.ascontiguousarray(image_folder.read(image))
    if pixels.shape != (height, width, image_folder.channel_count):
        raise ValueError(f"{image} was {width} wide and {height} high, and is no longer; start again")
    _write(number, pixels, offset + start)
    return zlib.crc32(pixels.data)


def _write(number: int, content: Any, offset: int) -> None:
    rest = memoryview(content).cast("B")
    while rest:  # the system may take less than requested
        written = os.pwrite(number, rest, offset)
        rest, offset = rest[written:], offset + written


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _gib(number: float) -> str:
    return f"{number / 2**30:.2f} GiB"
