"""Images opened by Pillow within this project's own limits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from PIL import Image, TiffImagePlugin

from softpoint.images import costs
from softpoint.images.decode_errors import FORMATS, RefusedError
from softpoint.images.headers import EXIF_ORIENTATION, Header, valid_orientation

_SAMPLES = 277  # TIFF's tag of the number of channels
MOST_COLORS = 4  # channels that an image of colors has, with transparency


@contextmanager
def opened(file: BinaryIO, max_pixels: int) -> Iterator[Image.Image]:
    """Open an image with Pillow; an error for more than `max_pixels`, and for too many parts."""
    costs.check_parts(file)
    with pillow_limit.at_least(max_pixels), Image.open(file, formats=FORMATS) as image:
        count = image.tag_v2.get(_SAMPLES, 1) if isinstance(image, TiffImagePlugin.TiffImageFile) else 1
        if count > MOST_COLORS:
            raise RefusedError(f"image {{path}} has {count} channels; set data.channels={count} to read them")
        yield image


def require_end(jpeg2000: BinaryIO) -> None:
    """Raise ValueError where the end of the pixels is missing: Pillow would leave missing tiles black."""
    place = jpeg2000.tell()
    jpeg2000.seek(0)
    data = jpeg2000.read()
    jpeg2000.seek(place)
    if data.find(b"\xff\xd9", data.find(b"\xff\x90\0\x0a")) < 0:
        raise ValueError("it is truncated")


def header_of(image: Image.Image) -> Header:
    """Return the size and the orientation of an open image."""
    width, height = image.size
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # some versions swap them by the orientation
        width, height = image.tag_v2[256], image.tag_v2[257]
    return Header(height, width, valid_orientation(image.getexif().get(EXIF_ORIENTATION)), 0)


class _Limit:
    """Raises Pillow's own, global limit while images are open, in any number of threads."""

    def __init__(self) -> None:
        self._lock, self._users, self._before = threading.Lock(), 0, Image.MAX_IMAGE_PIXELS

    @contextmanager
    def at_least(self, pixels: int) -> Iterator[None]:
        with self._lock:
            if not self._users:
                self._before = Image.MAX_IMAGE_PIXELS
            self._users += 1
            if Image.MAX_IMAGE_PIXELS is not None:
                Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, pixels)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    Image.MAX_IMAGE_PIXELS = self._before


pillow_limit = _Limit()
