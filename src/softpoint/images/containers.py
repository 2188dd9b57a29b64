"""Images inside other files: frames of a video, and images in an HDF5 file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from softpoint.images.video_seek import Video

# Number of containers that a process keeps open.
_OPEN = 16

_HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Frame:
    """An image `inside` the file `container`: frame "000012" of a video, image "video0/000012" of a package.

    Its methods raise ValueError where the container cannot be read, has no such image, or one of more than
    `max_pixels`.
    """

    container: Path
    inside: str

    def read(self, max_pixels: int) -> np.ndarray:
        """Return pixels, uint8 (H, W, 3) RGB."""
        video, name, number = self._place(max_pixels)
        return video.read(number) if isinstance(video, Video) else video.read(name, number)

    def size(self, max_pixels: int) -> tuple[int, int]:
        """Return (height, width) as of `read`, without decoding."""
        video, name, number = self._place(max_pixels)
        return video.size if isinstance(video, Video) else video.size(name, number)

    def _place(self, max_pixels: int) -> tuple[Video | Package, str, int]:
        name, _, digits = self.inside.rpartition("/")
        opened = _opened(self.container, max_pixels)
        if not (digits.isascii() and digits.isdigit() and len(digits) < 12) or isinstance(opened, Video) == bool(name):
            example = "000012" if isinstance(opened, Video) else "video0/000012"
            raise ValueError(
                f"{self.container} holds images that are named by numbers, not {self.inside!r};"
                f" write {self.container.name}/{example}"
            )
        return opened, name, int(digits)


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


class Package:
    """An open HDF5 file of images, each stored as PNG or JPEG, as SLEAP packs them, or as raw pixels."""

    def __init__(self, path: Path, max_pixels: int) -> None:
        self.path, self.max_pixels = path, max_pixels
        with self._explained(""):
            self._file = _h5py().File(path, "r")
            self._rows: dict[str, dict[int, int]] = {}

    def read(self, name: str, number: int) -> np.ndarray:
        """Return image `number` of the group or data set `name`, uint8 (H, W, 3) RGB."""
        with self._explained(name):
            stored, row = self._stored(name, number)
            if stored.ndim == 4:
                return np.broadcast_to(stored[row], (*stored.shape[1:3], 3)).copy()
            with self._image(stored, row) as image:
                pixels = np.array(image.convert("RGB"))
            return pixels[..., ::-1].copy() if self._reversed(stored) and image.mode == "RGB" else pixels

    def size(self, name: str, number: int) -> tuple[int, int]:
        """Return (height, width) of that image."""
        with self._explained(name):
            stored, row = self._stored(name, number)
            if stored.ndim == 4:
                return int(stored.shape[1]), int(stored.shape[2])
            with self._image(stored, row) as image:
                return image.height, image.width

    def _stored(self, name: str, number: int) -> tuple[Any, int]:
        """Return the data set that holds the image, and its row."""
        group = self._file.get(name)
        if group is None:
            videos = ", ".join(sorted(key for key in self._file if key.startswith("video") and key[5:].isdigit()))
            raise ValueError(f"does not exist; the file has {videos or 'no images'}")
        stored = group if hasattr(group, "shape") else group["video"]
        self._own(stored)
        if stored.ndim == 4:
            self._check_raw(stored)
        rows = self._numbers(name, group, stored)
        if number not in rows:
            numbers = f", numbered from {min(rows)} to {max(rows)}" if rows else ""
            raise ValueError(f"has no image {number}: it has {len(rows)}{numbers}")
        return stored, rows[number]

    def _numbers(self, name: str, group: Any, stored: Any) -> dict[int, int]:
        """Return the row of each frame number."""
        if name not in self._rows:
            count = stored.shape[0]
            numbers: Any = range(count)
            if not hasattr(group, "shape") and "frame_numbers" in group:
                self._own(group["frame_numbers"])
                numbers = group["frame_numbers"][:count].astype(int).tolist()
            self._rows[name] = {number: row for row, number in enumerate(numbers)}
        return self._rows[name]

    def _own(self, stored: Any) -> None:
        # HDF5 can take data from any other file of the machine, which an untrusted file must not.
        if stored.file.filename != self._file.filename or stored.external or stored.is_virtual:
            raise ValueError("lies in another file")
        if stored.ndim < 1 or stored.shape[0] > 100_000_000:
            raise ValueError(f"has a table of shape {stored.shape}")

    def _check_raw(self, stored: Any) -> None:
        _, height, width, channels = stored.shape
        if stored.dtype != np.uint8 or channels not in (1, 3):
            raise ValueError(
                f"holds {stored.dtype} of shape {stored.shape}; it must be uint8 (frames, height, width, 1 or 3)"
            )
        self._check_size(height, width)

    def _check_size(self, height: int, width: int) -> None:
        if not 0 < height * width <= self.max_pixels:
            raise ValueError(f"is {width} x {height}; more than {self.max_pixels} pixels are refused")

    def _image(self, stored: Any, row: int) -> Image.Image:
        if stored.ndim == 2 and stored.shape[1] > 4 * self.max_pixels:
            raise ValueError(f"holds {stored.shape[1]} bytes per image")
        image = Image.open(BytesIO(np.asarray(stored[row]).tobytes()), formats=("PNG", "JPEG"))
        self._check_size(image.height, image.width)
        if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
            raise ValueError(f"has pixels of kind {image.mode}; pack it with 8 bits per channel")
        return image

    def _reversed(self, stored: Any) -> bool:
        """Return whether red and blue are exchanged, as OpenCV packed them before format 1.4 stated the order."""
        order = stored.attrs.get("channel_order")
        if order is None:
            metadata = self._file.get("metadata")
            return metadata is not None and float(metadata.attrs.get("format_id", 1.4)) < 1.4
        return (order.decode() if isinstance(order, bytes) else str(order)) == "BGR"

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        place = f"{self.path}: {name}" if name else str(self.path)
        try:
            yield
        except Exception as error:  # HDF5 and image decoders raise nearly anything on a damaged or hostile file
            if type(error) is ValueError:
                raise ValueError(f"{place} {error}") from error
            raise ValueError(f"{place} cannot be read ({error}); copy the file again") from error


def _opened(path: Path, max_pixels: int) -> Video | Package:
    try:
        with path.open("rb") as file:
            head, state = file.read(len(_HDF5)), os.fstat(file.fileno())
    except OSError as error:
        raise ValueError(f"{path} cannot be opened: {error}") from error
    # A file that a parent process opened must not be shared with its forks: both would move one position.
    return _open(path, head == _HDF5, max_pixels, state.st_mtime_ns, state.st_size, os.getpid())


@lru_cache(maxsize=_OPEN)
def _open(path: Path, package: bool, max_pixels: int, modified: int, length: int, process: int) -> Video | Package:
    return Package(path, max_pixels) if package else Video(path, max_pixels)


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ValueError('needs h5py to be read: pip install -e ".[sleap]"') from error
    return h5py
