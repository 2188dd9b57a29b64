"""Decoding of images: pixels, and sizes without decoding."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from io import BufferedReader, BytesIO, FileIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import cv2
import numpy as np
from PIL import TiffImagePlugin

from softpoint.images import costs, isolated
from softpoint.images.bands import is_array, opened_bands, tiff_bands
from softpoint.images.channels import Channels, are_bands, fitted
from softpoint.images.costs import MAX_PIXELS
from softpoint.images.decode_errors import RefusedError, image_explained
from softpoint.images.depth import LARGEST, Decoded, narrowed, rgb
from softpoint.images.headers import Header, read_header, turned
from softpoint.images.isolated import watched
from softpoint.images.memory import keep_freed_memory
from softpoint.images.pillow import MOST_COLORS, header_of, opened, require_end
from softpoint.images.read_options import DEFAULT, ReadOptions

if TYPE_CHECKING:
    from softpoint.images.containers import Frame

_DECODE = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


def read_image(
    path: str | Path,
    *,
    exif: str = "ignore",
    max_pixels: int = MAX_PIXELS,
    bits: int | None = None,
    channels: Channels = 3,
) -> np.ndarray:
    """Return an image as writable uint8 (H, W, C) of `channels`, by default RGB; see `ReadOptions`.

    Of RGB and gray, transparency is dropped, and of several frames or pages the first is taken. Of wider values the
    upper 8 of `bits` are kept, for cameras that use the lower 12 of 16 bits; None takes the range that the file
    declares. No image is stretched by its own range, which would change brightness from one to the next.
    A `path` below a video, a file of several pages or an HDF5 file names a frame in it.
    Raises FileNotFoundError for a missing file and ValueError for one that cannot be read.
    """
    return decoded(path, ReadOptions(exif, max_pixels, bits, channels)).pixels


def decoded(source: str | Path | bytes, options: ReadOptions = DEFAULT) -> Decoded:
    """Return an image as `read_image` does, with the number of bits that a file of 16 uses; raise as it does.

    `source` may be the content of a file. A costly one is decoded in a process that is ended where it takes too long.
    """
    if isinstance(source, bytes):
        with image_explained(None):
            return _decoded(BytesIO(source), source, options, partial(isolated.decoded, None, source, options))
    path = Path(source)
    if (frame := _frame(path)) is not None:
        image = frame.decoded(options.max_pixels, options.bits)
        with image_explained(path, exists=True):
            return _fitted(image, options)
    # Without a buffer, which would copy the content.
    with image_explained(path), path.open("rb", buffering=0) as raw:
        data = _content(raw, options.max_pixels)
        file = BufferedReader(raw) if data is None else BytesIO(data)
        with watched(f"image {path}", options.max_pixels, reads=data is None):
            return _decoded(file, data, options, partial(isolated.decoded, path, b"", options))


def image_size(path: str | Path, options: ReadOptions = DEFAULT) -> tuple[int, int]:
    """Return (height, width) as of `read_image`, from the header alone; raise as it does."""
    path = Path(path)
    if (frame := _frame(path)) is not None:
        return frame.size(options.max_pixels)
    # A small buffer, because parts of a header are far between.
    with image_explained(path), path.open("rb", buffering=512) as file:
        return _size(file, options)


def decode_image(data: bytes, options: ReadOptions = DEFAULT) -> np.ndarray:
    """Return the pixels (H, W, C) of an image in memory, as `read_image` those of a file; ValueError where it cannot.

    >>> decode_image(b"P6 2 1 255\\n" + bytes([255, 0, 0, 0, 0, 255])).tolist()
    [[[255, 0, 0], [0, 0, 255]]]
    """
    return decoded(data, options).pixels


def decoded_size(data: bytes, options: ReadOptions = DEFAULT) -> tuple[int, int]:
    """Return (height, width) as of `decode_image`, from the header alone; raise as it does.

    >>> decoded_size(b"P6 2 1 255\\n" + bytes(6))
    (1, 2)
    """
    with image_explained(None):
        return _size(BytesIO(data), options)


def find_source(path: Path) -> Path:
    """Return the file that holds the image at `path`: itself, or the video or package that it is in.

    Raises FileNotFoundError where there is none.
    """
    if (frame := _frame(path)) is not None:
        return frame.container
    with image_explained(path):
        return path


def _frame(path: Path) -> Frame | None:
    """Return the image of this name inside another file, where there is no such file."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        from softpoint.images.containers import find

        return find(path)
    except (OSError, ValueError):  # a name that no file can have: opening it raises
        pass
    return None


def _decoded(file: BinaryIO, data: bytes | None, options: ReadOptions, apart: Callable[[], Decoded]) -> Decoded:
    """Return the image in a file, `apart` for a costly one; `data` is its content, for the faster decoder, or None."""
    keep_freed_memory()
    if _is_stored(file, options):
        return _fitted(_by_bands(file, options), options)
    return _fitted(_by_colors(file, data, options, apart), options)


def _is_stored(file: BinaryIO, options: ReadOptions) -> bool:
    """Return whether an image is read with the channels that the file has, not as RGB."""
    return are_bands(options.channels) or is_array(file)


def _fitted(image: Decoded, options: ReadOptions) -> Decoded:
    return image._replace(pixels=fitted(image.pixels, options.channels))


def _by_bands(file: BinaryIO, options: ReadOptions) -> Decoded:
    """Return an image with the channels that the file has."""
    with opened_bands(file, options.max_pixels) as (header, count, largest, load):
        _admit(header, options)
        wide = largest > 255
        costs.check_memory(header.height * header.width, count * (3 if wide else 1), 0, options.max_pixels)
        values = load()
    return _shown(narrowed(values, largest, options.bits) if wide else Decoded(values), header, options)


def _by_colors(file: BinaryIO, data: bytes | None, options: ReadOptions, apart: Callable[[], Decoded]) -> Decoded:
    """Return an image as RGB."""
    if (header := read_header(file)) is None:
        return _by_pillow(file, options, apart)
    _admit(header, options)
    if data is not None:
        scans = _check_costs(data, header, options.max_pixels)
        if costs.is_costly(header.height * header.width, scans) and not isolated.is_isolated:
            return apart()
        values = _by_opencv(data, header)
    # In doubt Pillow decides, which distinguishes a truncated file from one with bytes after its end.
    if data is None or values is None:
        return _by_pillow(file, options, apart)
    return _shown(narrowed(values, LARGEST, options.bits) if header.is_wide else Decoded(values), header, options)


def _check_costs(data: bytes, header: Header, max_pixels: int) -> int:
    """Return how many scans a JPEG or PNG has at most; ValueError for too many, or too much memory."""
    scans = costs.most_scans(data, header.scan) if header.scan else 1
    if scans > costs.MAX_SCANS:
        costs.check_jpeg(data)
    # Values of 16 bits and then of 8; a JPEG of several scans keeps 16 bits until the last.
    each = 3 if scans == 1 and not header.is_wide else 6 if header.is_gray else 9
    costs.check_memory(header.height * header.width, each, len(data), max_pixels)
    return scans


def _size(file: BinaryIO, options: ReadOptions) -> tuple[int, int]:
    """Return the size that an image will have, of whatever channels."""
    if _is_stored(file, options) or tiff_bands(file) > MOST_COLORS:
        with opened_bands(file, options.max_pixels) as stored:
            header = stored.header
    elif (common := read_header(file)) is not None:
        header = common
    else:
        with opened(file, options.max_pixels) as image:
            header = header_of(image)
    return _admit(header, options)


def _admit(header: Header, options: ReadOptions) -> tuple[int, int]:
    """Return the size that the image will have; ValueError for one that is refused."""
    size, max_pixels = (header.height, header.width), options.max_pixels
    if header.height * header.width > max_pixels:
        raise RefusedError(
            f"image {{path}} is {header.width} wide and {header.height} high, more than data.max_pixels={max_pixels};"
            " set it higher if that is meant, or scale the image down"
        )
    if header.orientation != 1 and options.exif == "error":
        raise RefusedError(
            f"image {{path}} carries the EXIF orientation {header.orientation}: viewers turn it, many labeling tools do"
            " not; set data.exif=apply if it was labeled upright, data.exif=ignore if it was labeled as stored"
        )
    return size[::-1] if options.exif == "apply" and header.orientation >= 5 else size


def _shown(image: Decoded, header: Header, options: ReadOptions) -> Decoded:
    pixels = image.pixels
    if pixels.shape[:2] != (header.height, header.width):
        raise ValueError(f"its header states {header.height} rows of {header.width}, its pixels are {pixels.shape[:2]}")
    if options.exif != "apply" or header.orientation == 1:
        return image
    return image._replace(pixels=turned(pixels, header.orientation))


def _content(file: FileIO, max_pixels: int) -> bytes | None:
    """Return all bytes of a JPEG or PNG, unless there are more than 8 per allowed pixel; None for other files."""
    magic = file.read(2)
    file.seek(0)
    common = magic in (b"\xff\xd8", b"\x89P")
    return file.readall() if common and os.fstat(file.fileno()).st_size <= 8 * max_pixels + (1 << 24) else None


def _by_opencv(data: bytes, header: Header) -> np.ndarray | None:
    """Return the values by the faster decoder, equal to Pillow's; None for a JPEG that may be truncated."""
    if header.scan:
        # Pixels cannot contain the marker of the end. OpenCV decodes a truncated file and makes up the rest.
        end = data.find(b"\xff\xd9", header.scan) + 2
        if end < 2 or data[end:].strip(b"\0"):
            return None
    flags = _DECODE
    if header.is_wide:
        flags = cv2.IMREAD_ANYDEPTH | (cv2.IMREAD_IGNORE_ORIENTATION if header.is_gray else _DECODE)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise ValueError("it is truncated or damaged")
    return pixels


def _by_pillow(file: BinaryIO, options: ReadOptions, apart: Callable[[], Decoded]) -> Decoded:
    with opened(file, options.max_pixels) as image:
        header = header_of(image)
        _admit(header, options)
        costs.check_pixels_of(image, file, options.max_pixels)
        if costs.is_costly_image(image) and not isolated.is_isolated:
            return apart()
        if image.format == "JPEG2000":
            require_end(file)
        stored = rgb(image, options.bits)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # Pillow turns this format alone by itself.
        back = {6: 8, 8: 6}.get(header.orientation, header.orientation)
        stored = stored._replace(pixels=turned(stored.pixels, back))
    return _shown(stored, header, options)
