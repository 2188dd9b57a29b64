"""Files of visitors: images and .npy maps, of which nothing is unpickled and no more is decoded than a limit allows."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from softpoint.demo.arrays import as_batch, load_maps
from softpoint.demo.sources import NamedMap, array_map, image_map
from softpoint.images.channels import Channels
from softpoint.images.decode import decode_image, decoded_size
from softpoint.images.read_options import ReadOptions

MAX_BYTES, MAX_PIXELS = 20_000_000, 25_000_000  # of a file, and of an image
MAX_VIDEO_BYTES = 200_000_000
_MAGIC = b"\x93NUMPY"


@dataclass(frozen=True, eq=False)
class UploadedMaps:
    """Brightness uint8 (H, W) of an image, or maps float32 (N, H, W, C) of a .npy file, under the name of its file."""

    name: str
    values: np.ndarray

    @property
    def counts(self) -> tuple[int, int]:
        """Number of samples and of channels."""
        return (len(self.values), self.values.shape[-1]) if self.values.ndim == 4 else (1, 1)

    def chosen(self, side: int, sample: int, channel: int) -> NamedMap:
        """Return a map of the file, or of the image shrunk to `side` cells; ValueError for one that it has not."""
        if self.values.ndim == 2:
            return image_map(self.values, self.name, side)
        return array_map(self.values, self.name, sample, channel)


def read_maps(path: str | Path) -> UploadedMaps:
    """Return the maps of an image or a .npy file.

    Raises ValueError, with the name of the file and the way out, for any other file and for a damaged or large one.
    """
    path = Path(path)
    with path.open("rb") as file:
        magic = file.read(len(_MAGIC))
    if path.suffix.lower() == ".npy" or magic == _MAGIC:
        try:
            return UploadedMaps(path.name, as_batch(load_maps(path)))
        except ValueError as error:
            raise ValueError(str(error).replace(str(path), path.name)) from error
    return UploadedMaps(path.name, cv2.cvtColor(read_pixels(path), cv2.COLOR_RGB2GRAY))


def read_pixels(path: str | Path, channels: Channels = 3) -> np.ndarray:
    """Return an uploaded image, uint8 (H, W, C), upright; ValueError as of `read_maps`."""
    path = Path(path)
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"{path.name} has {size} bytes, more than {MAX_BYTES}; scale it down")
    data = path.read_bytes()
    try:
        height, width = decoded_size(data, ReadOptions("apply", sys.maxsize, channels=channels))  # of the header
        if height * width > MAX_PIXELS:
            raise ValueError(f"{height} x {width} pixels are more than {MAX_PIXELS}; scale it down")
        return decode_image(data, ReadOptions("apply", MAX_PIXELS, channels=channels))
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
