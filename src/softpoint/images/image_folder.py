"""The images of one folder, by the paths in labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from softpoint.images.decode import decoded, image_size
from softpoint.images.depth import Decoded
from softpoint.images.read_options import ReadOptions
from softpoint.paths import normalize_path


class Reader(Protocol):
    """An object that opens images by their path in the labels."""

    @property
    def channel_count(self) -> int:
        """C, the number of channels of every image."""
        ...

    def read(self, image: str) -> np.ndarray:
        """Return pixels, uint8 (H, W, C); not to be written to."""
        ...


_USUAL = ReadOptions("error")  # of labels: an orientation is a question to the user


@dataclass(frozen=True)
class ImageFolder:
    """Images below `folder`; a path that leaves it is refused, however it is spelled."""

    folder: Path
    options: ReadOptions = _USUAL

    @property
    def channel_count(self) -> int:
        """C, the number of channels of every image."""
        return self.options.channel_count

    def path(self, image: str) -> Path:
        """Return the path of an image; ValueError for one out of the folder."""
        relative = normalize_path(image)
        path = Path(relative)
        if path.is_absolute():
            inside = path.is_relative_to(self.folder.resolve())
        else:
            inside = relative.split("/")[0] != ".." and relative[1:3] not in (":/", ":")
            path = self.folder / relative
        if not inside:
            raise ValueError(
                f"its image {image!r} lies outside data.images={self.folder}; write paths relative to that folder,"
                " or name a folder that holds all images"
            )
        return path

    def relative(self, image: str) -> str:
        """Return the path of an image from the folder, in one spelling; that of one out of the folder stays."""
        name = normalize_path(image)
        path = Path(name)
        inside = path.is_absolute() and path.is_relative_to(root := self.folder.resolve())
        return path.relative_to(root).as_posix() if inside else name

    def size(self, image: str) -> tuple[int, int]:
        """Return height and width as of `read`, without decoding the pixels."""
        return image_size(self.path(image), self.options)

    def read(self, image: str) -> np.ndarray:
        """Return pixels, uint8 (H, W, C); raise as `read_image` does."""
        return self.decoded(image).pixels

    def decoded(self, image: str) -> Decoded:
        """Return the image as of `read`, with the number of bits that a file of 16 uses."""
        return decoded(self.path(image), self.options)
