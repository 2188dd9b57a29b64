"""Images packed in HDF5 files, which a process of its own opens: HDF5 takes what memory a file claims to need."""

from __future__ import annotations

import math
from bisect import bisect_right
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from softpoint.images import isolated
from softpoint.images.costs import check_parts, max_bytes
from softpoint.images.decode_errors import explained, image_explained
from softpoint.images.ffmpeg import check_pixels
from softpoint.images.headers import read_header

# Number of groups of images that a process keeps open.
_OPEN = 16


@dataclass(frozen=True)
class PackedImages:
    """The images in a group or data set `name` of an HDF5 file: PNG or JPEG, as SLEAP packs them, or raw pixels.

    `version` is another one where the file has changed.
    """

    path: Path
    name: str
    max_pixels: int
    version: tuple[int, int]

    def read(self, number: int) -> np.ndarray:
        """Return image `number`, uint8 (H, W, 3) RGB."""
        reply, data = self._asked(number, "stored")
        stored = np.frombuffer(data, np.uint8).reshape(reply["shape"])
        if stored.ndim == 3:
            return np.broadcast_to(stored, (*stored.shape[:2], 3)).copy()
        place = f"{self.path}: {self.name}"
        with _explained(place), isolated.watched(f"image {number} of {place}", self.max_pixels, reads=False):
            with _opened(stored, self.max_pixels) as image:
                pixels = np.array(image.convert("RGB"))
            return pixels[..., ::-1].copy() if reply["is_bgr"] and image.mode == "RGB" else pixels

    def size(self, number: int) -> tuple[int, int]:
        """Return (height, width) of image `number`."""
        height, width = self._asked(number, "size")[0]["size"]
        return height, width

    def _asked(self, number: int, what: str) -> tuple[dict[str, Any], bytearray]:
        package = (str(self.path.absolute()), self.name, self.max_pixels, self.version)
        with image_explained(self.path / self.name / f"{number:06}", exists=True):
            return isolated.asked(self.max_pixels, "package", [*package, number, what])


def answered(
    path: str, name: str, max_pixels: int, version: tuple[int, int], number: int, what: str
) -> tuple[dict[str, Any], isolated.Part]:
    """Return the "size" of an image, or the bytes of it as "stored", in the process that opens packages."""
    package = _package(path, name, max_pixels, tuple(version))
    with _explained(package.place):
        if what == "size":
            return {"size": package.size(number)}, b""
        stored = package.stored(number)
        return {"shape": stored.shape, "is_bgr": package.is_bgr}, stored.data


class _Package:
    """An open group or data set of images."""

    def __init__(self, path: str, name: str, max_pixels: int) -> None:
        self.place, self.max_pixels = f"{path}: {name}", max_pixels
        with explained(path, "copy the file again"):
            file = _h5py().File(path, "r")
        with _explained(self.place):
            group = file.get(name)
            if group is None:
                videos = ", ".join(sorted(key for key in file if key.startswith("video") and key[5:].isdigit()))
                raise ValueError(f"does not exist; the file has {videos or 'no images'}")
            is_group = not hasattr(group, "shape")
            has_numbers = is_group and "frame_numbers" in group
            images = _own(file, group["video"] if is_group else group, max_pixels)
            count, *shape = images.shape
            self._images, self._is_raw, self.is_bgr = images, images.ndim == 4, _is_bgr(file, images)
            if self._is_raw:
                check_pixels(shape[1], shape[0], max_pixels)
                if images.dtype != np.uint8 or shape[2] not in (1, 3):
                    kind = f"{images.dtype} of shape {images.shape}"
                    raise ValueError(f"holds {kind}; it must be uint8 (frames, height, width, 1 or 3)")
            elif images.ndim == 2 and shape[0] > 4 * max_pixels:
                raise ValueError(f"holds {shape[0]} bytes per image")
            if count > Path(path).stat().st_size:
                raise ValueError(f"states {count} images, more than the file has bytes; copy it again")
            self._rows = _Rows(count, _own(file, group["frame_numbers"], max_pixels) if has_numbers else None)

    def stored(self, number: int) -> np.ndarray:
        """Return the pixels (H, W, 1 or 3) of an image, or the bytes of a PNG or JPEG."""
        stored = np.ascontiguousarray(self._images[self._rows.row(number)])
        return stored if self._is_raw else stored.reshape(-1).view(np.uint8)

    def size(self, number: int) -> tuple[int, int]:
        """Return (height, width) of an image."""
        if self._is_raw:
            self._rows.row(number)
            return int(self._images.shape[1]), int(self._images.shape[2])
        with _opened(self.stored(number), self.max_pixels) as image:
            return image.height, image.width


@lru_cache(maxsize=_OPEN)
def _package(path: str, name: str, max_pixels: int, version: tuple[int, int]) -> _Package:
    return _Package(path, name, max_pixels)


def _explained(place: str) -> AbstractContextManager[None]:
    return explained(place, "copy the file again")


def _opened(stored: np.ndarray, max_pixels: int) -> Image.Image:
    file = BytesIO(stored.tobytes())
    is_wide = (header := read_header(file)) is not None and header.is_wide
    check_parts(file)
    image = Image.open(file, formats=("PNG", "JPEG"))
    check_pixels(image.width, image.height, max_pixels)
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


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ValueError('needs h5py to be read: pip install "softpoint[sleap]"') from error
    return h5py
