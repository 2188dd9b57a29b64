"""Images inside other files: frames of a video, pages of an image file, and images in an HDF5 file."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, PngImagePlugin, TiffImagePlugin

from softpoint.images import isolated
from softpoint.images.channels import Channels, are_bands
from softpoint.images.costs import check_parts, check_pixels_of, is_costly_image
from softpoint.images.decode_errors import FORMATS, image_explained
from softpoint.images.depth import Decoded, rgb
from softpoint.images.ffmpeg import check_pixels
from softpoint.images.headers import read_header
from softpoint.images.packages import PackedImages
from softpoint.images.pillow import pillow_limit
from softpoint.images.read_options import ReadOptions
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
        version = (state.st_mtime_ns, state.st_size)
        if is_package:
            return PackedImages(self.container, name, max_pixels, version), int(digits)
        return _open(self.container, max_pixels, (*version, os.getpid())), int(digits)


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
                return isolated.decoded(
                    self.path / f"{number:06}", b"", ReadOptions(max_pixels=self.max_pixels, bits=bits)
                )
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


def page_names(path: Path, channels: Channels = 3) -> list[str]:
    """Return the names of the pages of an image file below its folder.

    Its own where it has one, cannot be read, or has pages that `channels` reads as the bands of one image.
    """
    try:
        count = len(Pages(path, 1 << 62)) if path.suffix.lower() in _PAGED and not are_bands(channels) else 1
    except (OSError, ValueError):
        count = 1
    return [path.name] if count == 1 else [f"{path.name}/{number:06}" for number in range(count)]


def page_paths(folder: Path, files: Iterable[Path], channels: Channels = 3) -> list[str]:
    """Return the paths below `folder` of the pages of image files in it, in order; see `page_names`."""
    pages = ((file.parent.relative_to(folder), name) for file in files for name in page_names(file, channels))
    return [(parent / name).as_posix() for parent, name in pages]


@lru_cache(maxsize=_OPEN)
def _open(path: Path, max_pixels: int, version: tuple[int, int, int]) -> Video | Pages:
    return Pages(path, max_pixels) if path.suffix.lower() in _PAGED else Video(path, max_pixels)
