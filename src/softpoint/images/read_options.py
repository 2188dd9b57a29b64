"""How images are read: the settings that every decoder shares."""

from __future__ import annotations

from dataclasses import dataclass

from softpoint.images.channels import Channels, check_channels, count_channels
from softpoint.images.costs import MAX_PIXELS
from softpoint.suggest import check_choice

EXIF = ("apply", "ignore", "error")


@dataclass(frozen=True)
class ReadOptions:
    """How the files of images become pixels; ValueError for impossible values.

    Args:
        exif: for images with an EXIF orientation: "apply" turns them upright, "ignore" keeps the pixels of
            the file, "error" refuses them.
        max_pixels: a larger image is refused before it is decoded.
        bits: that the values of 16-bit files use, 8 to 16; None takes all that a file declares.
        channels: 3 reads images as RGB, 1 as gray, another number as the bands that every file has, and a sequence of
            positions some of those, in its order.
    """

    exif: str = "ignore"
    max_pixels: int = MAX_PIXELS
    bits: int | None = None
    channels: Channels = 3

    def __post_init__(self) -> None:
        check_choice("data.exif", self.exif, EXIF)
        if self.bits is not None and (type(self.bits) is not int or not 8 <= self.bits <= 16):
            raise ValueError(f"data.bits={self.bits} must be a whole number from 8 to 16, or null")
        object.__setattr__(self, "channels", check_channels(self.channels))

    @property
    def channel_count(self) -> int:
        """C, the number of channels of every image."""
        return count_channels(self.channels)

    def plain(self) -> list[object]:
        """Return the values as JSON has them, in their order.

        >>> ReadOptions(channels=(4, 0)).plain()
        ['ignore', 100000000, None, [4, 0]]
        """
        channels = list(self.channels) if isinstance(self.channels, tuple) else self.channels
        return [self.exif, self.max_pixels, self.bits, channels]


DEFAULT = ReadOptions()
