"""The images of one folder, found by the paths that labels give."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from softpoint.images.decode import MAX_PIXELS, image_size, read_image
from softpoint.paths import normalize_path


class Reader(Protocol):
    """What opens an image by the name its labels give it."""

    def read(self, image: str) -> np.ndarray:
        """Its pixels, uint8 (H, W, 3) RGB; not to be written to."""
        ...


@dataclass(frozen=True)
class ImageFolder:
    """Opens images below `folder`; a path that leaves it is refused, however it is spelled.

    Args:
        exif: what an EXIF orientation means: "apply" turns the image upright, "ignore" takes the pixels
            as they lie in the file, "error" refuses it.
        max_pixels: a larger image is refused before it is decoded.
    """

    folder: Path
    exif: str = "error"
    max_pixels: int = MAX_PIXELS

    def path(self, image: str) -> Path:
        """Where an image lies; ValueError for a path out of the folder."""
        spelled = normalize_path(image)
        path = Path(spelled)
        if path.is_absolute() or spelled[1:3] in (":/", ":"):
            inside = path.is_absolute() and path.is_relative_to(self.folder.resolve())
            outside = not inside
        else:
            outside, path = spelled.split("/")[0] == "..", self.folder / spelled
        if outside:
            raise ValueError(
                f"its image {image!r} lies outside data.images={self.folder}; write paths relative to that folder,"
                " or name a folder that holds all images"
            )
        return path

    def size(self, image: str) -> tuple[int, int]:
        """Height and width as `read` will give them, without decoding the pixels."""
        return image_size(self.path(image), exif=self.exif, max_pixels=self.max_pixels)

    def read(self, image: str) -> np.ndarray:
        """Its pixels, uint8 (H, W, 3) RGB; raises as `read_image` does."""
        return read_image(self.path(image), exif=self.exif, max_pixels=self.max_pixels)
