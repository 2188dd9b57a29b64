"""Images decoded once, their pixels kept in memory or in one file that every process maps."""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL

from softpoint.images import ImageFolder
from softpoint.images.decode import find_source
from softpoint.images.memory import free_memory
from softpoint.images.thread_map import in_parallel
from softpoint.paths import normalize_path, user_cache_dir
from softpoint.suggest import did_you_mean

_FORMAT = "softpoint pixels 1"

# In front of the pixels on disk, saying what they are; a page, so that images start on one.
_HEADER = 4096

# Of the free memory or disk, what a cache may take: training needs some as well.
_SHARE = 0.8

_log = logging.getLogger(__name__)

Place = tuple[int, int, int]  # offset in bytes, height, width


class Cached:
    """Opens images without decoding them again, as read-only views on pixels that all processes share.

    Forked and spawned workers get the same pixels, not a copy. `open` makes one.
    """

    def __init__(self, places: Mapping[str, Place], number: int, offset: int) -> None:
        """Takes over the open file `number`, whose pixels start at `offset` bytes."""
        self.places, self._number, self._offset = dict(places), number, offset
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
    ) -> Cached:
        """The pixels of `images`, whose (N, 2) heights and widths are known; `kind` is "ram" or "disk".

        On disk they are found again in `folder` (see `cache_dir`) as long as no image has changed.
        Raises ValueError where they do not fit, and as `images.read` does.
        """
        places, total = _places(images, sizes)
        if kind == "ram":
            return cls(places, _in_memory(image_folder, places, total), 0)
        if kind != "disk":
            raise ValueError(f"data.cache={kind!r}: {did_you_mean(kind, ('none', 'ram', 'disk'))}")
        return cls(places, _on_disk(image_folder, places, total, user_cache_dir(folder)), _HEADER)

    def read(self, image: str) -> np.ndarray:
        """Its pixels, uint8 (H, W, 3) RGB, as a view that cannot be written to."""
        offset, height, width = self.places[image]
        return self._pixels[offset : offset + 3 * height * width].reshape(height, width, 3)

    def __getstate__(self) -> dict[str, Any]:
        from multiprocessing.reduction import DupFd  # hands the open file itself to the other process

        return {"places": self.places, "file": DupFd(self._number), "offset": self._offset}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["places"], state["file"].detach(), state["offset"])  # type: ignore[misc]


def _places(images: Sequence[str], sizes: np.ndarray) -> tuple[dict[str, Place], int]:
    """Where each image lies in the buffer, and how long that is; two spellings of a path share a place."""
    places: dict[str, Place] = {}
    known: dict[str, Place] = {}
    total = 0
    for image, (height, width) in sorted(zip(images, np.asarray(sizes).tolist(), strict=True)):
        if (path := normalize_path(image)) not in known:
            known[path] = (total, height, width)
            total += 3 * height * width
        places[image] = known[path]
    return places, total


def _in_memory(image_folder: ImageFolder, places: Mapping[str, Place], total: int) -> int:
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
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise ValueError(f"data.cache=ram cannot keep {_gib(total)} ({error}); set data.cache=disk") from error
        raise
    return number


def _anonymous() -> int:
    """A file without a name: in memory, or where the system knows no such thing in the temporary folder."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("softpoint")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _on_disk(image_folder: ImageFolder, places: Mapping[str, Place], total: int, folder: Path) -> int:
    index = {"format": _FORMAT, "sources": _sources(image_folder, places), "bytes": total, "places": _lists(places)}
    named = [str(image_folder.folder.resolve()), image_folder.exif, image_folder.max_pixels, sorted(places)]
    # Named by what is cached, not by its state: what is out of date is replaced, and does not pile up.
    path = folder / f"{_digest(named)[:32]}.pixels"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(path.with_suffix(".lock")):
            if not _valid(path, index):
                _build(image_folder, places, path, index)
            return os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # an image
        raise
    except OSError as error:
        raise ValueError(
            f"data.cache=disk cannot use {folder} ({error}); name another folder by data.cache_dir or"
            " SOFTPOINT_CACHE, or set data.cache=none"
        ) from error


def _sources(image_folder: ImageFolder, places: Mapping[str, Place]) -> str:
    """Changes when an image does, or what decodes it."""
    states = []
    for image in places:
        status = find_source(image_folder.path(image)).stat()
        states.append((image, status.st_size, status.st_mtime_ns))
    return _digest([states, cv2.__version__, PIL.__version__])


def _valid(path: Path, index: Mapping[str, Any]) -> bool:
    """Whether the file at `path` holds what `index` says."""
    try:
        with path.open("rb") as file:
            whole = file.read(_HEADER) == _header(index) and path.stat().st_size == _HEADER + index["bytes"]
        return whole and json.loads(path.with_suffix(".json").read_text()) == index
    except (OSError, ValueError, RecursionError):
        return False


def _build(image_folder: ImageFolder, places: Mapping[str, Place], path: Path, index: Mapping[str, Any]) -> None:
    needed, free = _HEADER + index["bytes"], shutil.disk_usage(path.parent).free
    if needed > _SHARE * free:
        raise ValueError(
            f"data.cache=disk needs {_gib(needed)} for {len(places)} images, and {_gib(free)} are free in"
            f" {path.parent}; name another folder by data.cache_dir, or set data.cache=none"
        )
    _log.info("decoding %d images into %s, %s", len(places), path, _gib(needed))

    def pixels(number: int) -> None:
        os.truncate(number, needed)
        _write(number, _header(index), 0)
        _fill(image_folder, places, number, _HEADER)

    _replace(path, pixels)
    _replace(path.with_suffix(".json"), lambda number: _write(number, json.dumps(index).encode(), 0))


def _replace(path: Path, write: Callable[[int], None]) -> None:
    """Writes under another name, so that nobody ever finds half of it under this one."""
    number, name = tempfile.mkstemp(prefix=path.stem, suffix=".part", dir=path.parent)
    try:
        write(number)
        os.fsync(number)
        Path(name).replace(path)
    finally:
        os.close(number)
        Path(name).unlink(missing_ok=True)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Lets one process in at a time, where the file system can; without, they would all decode the same."""
    with path.open("w") as lock:
        with suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fill(image_folder: ImageFolder, places: Mapping[str, Place], number: int, offset: int) -> None:
    """Writes each image to its place in the file."""

    def fill(item: tuple[Place, str]) -> None:
        (start, height, width), image = item
        pixels = image_folder.read(image)
        if pixels.shape != (height, width, 3):
            raise ValueError(f"{image} was {width} wide and {height} high, and is no longer; start again")
        _write(number, pixels, offset + start)

    unique = {place: image for image, place in places.items()}
    for _ in in_parallel(fill, unique.items(), "decoding images"):
        pass


def _write(number: int, content: Any, offset: int) -> None:
    rest = memoryview(content).cast("B")
    while rest:  # the system may take less than asked for
        written = os.pwrite(number, rest, offset)
        rest, offset = rest[written:], offset + written


def _header(index: Mapping[str, Any]) -> bytes:
    return f"{_FORMAT}\n{index['sources']}\n".encode().ljust(_HEADER, b"\0")


def _lists(places: Mapping[str, Place]) -> dict[str, list[int]]:
    return {image: list(place) for image, place in places.items()}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _gib(number: float) -> str:
    return f"{number / 2**30:.2f} GiB"
