"""Images inside other files: frames of a video, pages of an image file, and images in an HDF5 file."""

from __future__ import annotations

import math
import os
import threading
import weakref
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin

from softpoint.images import isolated
from softpoint.images.costs import check_parts, check_pixels_of, is_costly_image, max_bytes
from softpoint.images.decode_errors import FORMATS, explained, image_explained
from softpoint.images.depth import Decoded, rgb
from softpoint.images.ffmpeg import check_pixels
from softpoint.images.headers import read_header
from softpoint.images.pillow import pillow_limit
from softpoint.images.process import bounded_memory
from softpoint.images.video import Video

# Number of containers that a process keeps open.
_OPEN = 16

_HDF5 = b"\x89HDF\r\n\x1a\n"

# Suffixes of image files that may hold several images.
_PAGED = (".tif", ".tiff", ".gif", ".webp", ".png")


@dataclass(frozen=True)
class Frame:
    """An image `inside` the file `container`: frame or page "000012", or image "video0/000012" of a package.

    Its methods raise ValueError where the container cannot be read, has no such image, or one of more than
    `max_pixels`.
    """

    container: Path
    inside: str

    def decoded(self, max_pixels: int, bits: int | None = None) -> Decoded:
        """Return the image; `bits` as in `read_image`."""
        images, number = self._open(max_pixels)
        return images.read(number, bits) if isinstance(images, Pages) else Decoded(images.read(number))

    def size(self, max_pixels: int) -> tuple[int, int]:
        """Return (height, width) as of `read`, without decoding."""
        images, number = self._open(max_pixels)
        return images.size if isinstance(images, Video) else images.size(number)

    def _open(self, max_pixels: int) -> tuple[Video | Pages | PackedImages, int]:
        try:
            with self.container.open("rb") as file:
                is_package, state = file.read(len(_HDF5)) == _HDF5, os.fstat(file.fileno())
        except OSError as error:
            raise ValueError(f"{self.container} cannot be opened: {error}") from error
        name, _, digits = self.inside.rpartition("/")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 12) or bool(name) != is_package:
            example = "video0/000012" if is_package else "000012"
            raise ValueError(
                f"{self.container} holds images that are named by numbers, not {self.inside!r};"
                f" write {self.container.name}/{example}"
            )
        # A file that a parent process opened must not be shared with its forks: both would move one position.
        version = (state.st_mtime_ns, state.st_size, os.getpid())
        return _open(self.container, name, max_pixels, version), int(digits)


def find(path: Path) -> Frame | None:
    """Return the image that `path` names below a file; None where no part of the path is a file.

    >>> find(Path(__file__) / "000012").inside
    '000012'
    >>> find(Path(__file__).parent / "000012")
    """
    for parent in path.parents:
        # Unlike Path.is_file, this works even for names that no file system accepts.
        if os.path.isfile(parent):  # noqa: PTH113
            return Frame(parent, path.relative_to(parent).as_posix())
    return None


class Pages:
    """The pages of a TIFF, or the frames of a GIF, WebP or PNG, counted from 0; thumbnails of a TIFF are left out."""

    def __init__(self, path: Path, max_pixels: int) -> None:
        self.path, self.max_pixels, self._lock = path, max_pixels, threading.Lock()
        self._file = path.open("rb")
        weakref.finalize(self, self._file.close)
        with image_explained(path), pillow_limit.at_least(max_pixels):
            read_header(self._file)  # an error for what cannot be read whole
            check_parts(self._file)
            # Stays open, because a frame of an animation builds on those before it.
            self._image = image = Image.open(self._file, formats=FORMATS)
            self._numbers = list(range(getattr(image, "n_frames", 1)))
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                self._numbers = [n for n in self._numbers if not _is_thumbnail(image, n)]

    def __len__(self) -> int:
        return len(self._numbers)

    def read(self, number: int, bits: int | None = None) -> Decoded:
        """Return page `number`."""
        with self._page(number) as page:
            if is_costly_image(page) and not isolated.is_isolated:
                return isolated.decoded(self.path / f"{number:06}", b"", "ignore", self.max_pixels, bits)
            return rgb(page, bits)

    def size(self, number: int) -> tuple[int, int]:
        """Return (height, width) of page `number`."""
        with self._page(number) as page:
            return page.height, page.width

    @contextmanager
    def _page(self, number: int) -> Iterator[Image.Image]:
        if number >= len(self):
            raise ValueError(f"{self.path} has no page {number}: it has {len(self)}, counted from 0")
        place = f"page {number} of {self.path}"
        with (
            self._lock, image_explained(self.path), pillow_limit.at_least(self.max_pixels),
            isolated.watched(place, self.max_pixels, reads=True),
        ):  # fmt: skip
            if number < self._image.tell() and isinstance(self._image, PngImagePlugin.PngImageFile):
                self._image = Image.open(self._file, formats=FORMATS)  # Pillow does not rewind it after the last frame
            self._image.seek(self._numbers[number])
            check_pixels(self._image.width, self._image.height, self.max_pixels)
            check_pixels_of(self._image, self._file, self.max_pixels)
            yield self._image


def _is_thumbnail(tiff: TiffImagePlugin.TiffImageFile, number: int) -> bool:
    tiff.seek(number)
    return bool(tiff.tag_v2.get(254, 0) & 1)  # NewSubfileType: a smaller version of another page


def page_names(path: Path) -> list[str]:
    """Return the names of the pages of an image file below its folder: its own where it has one, or cannot be read."""
    try:
        count = len(Pages(path, 1 << 62)) if path.suffix.lower() in _PAGED else 1
    except (OSError, ValueError):
        count = 1
    return [path.name] if count == 1 else [f"{path.name}/{number:06}" for number in range(count)]


def page_paths(folder: Path, files: Iterable[Path]) -> list[str]:
    """Return the paths below `folder` of the pages of image files in it, in order."""
    return [(file.parent.relative_to(folder) / name).as_posix() for file in files for name in page_names(file)]


class PackedImages:
    """The images in a group or data set `name` of an HDF5 file: PNG or JPEG, as SLEAP packs them, or raw pixels."""

    def __init__(self, path: Path, name: str, max_pixels: int) -> None:
        self.place, self.max_pixels = f"{path}: {name}", max_pixels
        with explained(str(path), "copy the file again"):
            file = _h5py().File(path, "r")
        with self._explained(), self._bounded():
            group = file.get(name)
            if group is None:
                videos = ", ".join(sorted(key for key in file if key.startswith("video") and key[5:].isdigit()))
                raise ValueError(f"does not exist; the file has {videos or 'no images'}")
            is_group = not hasattr(group, "shape")
            has_numbers = is_group and "frame_numbers" in group
            images = _own(file, group["video"] if is_group else group, max_pixels)
            count, *shape = images.shape
            self._images, self._is_raw, self._is_bgr = images, images.ndim == 4, _is_bgr(file, images)
            if self._is_raw:
                check_pixels(shape[1], shape[0], max_pixels)
                if images.dtype != np.uint8 or shape[2] not in (1, 3):
                    kind = f"{images.dtype} of shape {images.shape}"
                    raise ValueError(f"holds {kind}; it must be uint8 (frames, height, width, 1 or 3)")
            if count > path.stat().st_size:
                raise ValueError(f"states {count} images, more than the file has bytes; copy it again")
            numbers = _own(file, group["frame_numbers"], max_pixels) if has_numbers else None
            self._rows = _Rows(count, numbers)

    def read(self, number: int) -> np.ndarray:
        """Return image `number`, uint8 (H, W, 3) RGB."""
        place = f"image {number} of {self.place}"
        with self._explained(), isolated.watched(place, self.max_pixels, reads=True):
            row = self._rows.row(number)
            if self._is_raw:
                return np.broadcast_to(self._stored(row), (*self._images.shape[1:3], 3)).copy()
            with self._opened(row) as image:
                pixels = np.array(image.convert("RGB"))
            return pixels[..., ::-1].copy() if self._is_bgr and image.mode == "RGB" else pixels

    def size(self, number: int) -> tuple[int, int]:
        """Return (height, width) of image `number`."""
        with self._explained():
            row = self._rows.row(number)
            if self._is_raw:
                return int(self._images.shape[1]), int(self._images.shape[2])
            with self._opened(row) as image:
                return image.height, image.width

    def _explained(self) -> AbstractContextManager[None]:
        return explained(self.place, "copy the file again")

    def _bounded(self) -> AbstractContextManager[None]:
        # HDF5 takes the memory that an entry of any length claims to need.
        return bounded_memory(max_bytes(self.max_pixels))

    def _stored(self, row: int) -> Any:
        with self._bounded():
            return self._images[row]

    def _opened(self, row: int) -> Image.Image:
        if self._images.ndim == 2 and self._images.shape[1] > 4 * self.max_pixels:
            raise ValueError(f"holds {self._images.shape[1]} bytes per image")
        file = BytesIO(np.asarray(self._stored(row)).tobytes())
        is_wide = (header := read_header(file)) is not None and header.is_wide
        check_parts(file)
        image = Image.open(file, formats=("PNG", "JPEG"))
        check_pixels(image.width, image.height, self.max_pixels)
        if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA") or is_wide:
            raise ValueError(f"has pixels of kind {image.mode} of more than 8 bits; pack it with 8 bits per channel")
        return image


class _Rows:
    """The rows of `count` images by their numbers: those in the table `numbers`, or 0, 1, ... without one."""

    def __init__(self, count: int, numbers: Any = None) -> None:
        self._sorted: range | np.ndarray = range(count)
        self._order: range | np.ndarray = self._sorted
        if numbers is not None:
            if numbers.ndim != 1 or numbers.dtype.kind not in "iuf":
                raise ValueError(f"has frame_numbers of {numbers.dtype} and shape {numbers.shape}, not one per image")
            values = numbers[:count].astype(np.int64)
            self._order = np.argsort(values, kind="stable")
            self._sorted = values[self._order]

    def row(self, number: int) -> int:
        """Return the row of an image, the last of several of one number; ValueError where there is none."""
        place = bisect_right(self._sorted, number) - 1
        if place < 0 or self._sorted[place] != number:
            count = len(self._sorted)
            numbers = f", numbered from {self._sorted[0]} to {self._sorted[-1]}" if count else ""
            raise ValueError(f"has no image {number}: it has {count}{numbers}")
        return int(self._order[place])


def _own(file: Any, stored: Any, max_pixels: int) -> Any:
    """Return a data set; ValueError unless its data is in this file, in pieces of usual size."""
    # HDF5 can take data from any other file of the machine, which an untrusted file must not.
    if stored.file.filename != file.filename or stored.external or stored.is_virtual:
        raise ValueError("lies in another file")
    if stored.ndim < 1 or stored.shape[0] > 100_000_000:
        raise ValueError(f"has a table of shape {stored.shape}")
    if stored.chunks and (size := math.prod(stored.chunks) * stored.dtype.itemsize) > max_bytes(max_pixels):
        raise ValueError(f"is stored in pieces of {size} bytes; pack it again, one image in each")
    return stored


def _is_bgr(file: Any, stored: Any) -> bool:
    """Return whether red and blue are exchanged, as OpenCV packed them before format 1.4 stated the order."""
    order = stored.attrs.get("channel_order")
    if order is None:
        metadata = file.get("metadata")
        return metadata is not None and float(metadata.attrs.get("format_id", 1.4)) < 1.4
    return (order.decode() if isinstance(order, bytes) else str(order)) == "BGR"


@lru_cache(maxsize=_OPEN)
def _open(path: Path, name: str, max_pixels: int, version: tuple[int, int, int]) -> Video | Pages | PackedImages:
    if name:
        return PackedImages(path, name, max_pixels)
    return Pages(path, max_pixels) if path.suffix.lower() in _PAGED else Video(path, max_pixels)


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ValueError('needs h5py to be read: pip install "softpoint[sleap]"') from error
    return h5py
