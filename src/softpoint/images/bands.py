"""Images of any number of channels, as they are stored: arrays in .npy files, TIFFs of several bands, and others."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from softpoint.images import costs
from softpoint.images.channels import MAX_CHANNELS
from softpoint.images.decode_errors import RefusedError
from softpoint.images.depth import LARGEST, unsigned, wide_values
from softpoint.images.headers import Header, valid_orientation
from softpoint.images.pillow import header_of, opened, pillow_limit

_NPY = b"\x93NUMPY"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0")
_FEW = 16  # rows and channels: fewer of those and more of these are an array of (channels, height, width)
_NPY_HEADER = 10_000  # bytes, which are parsed as Python's literals

# Compressions whose bytes are those of the pixels: none, LZW, deflate, LZMA, PackBits, old deflate, Zstandard.
_NONE, _LOSSLESS = 1, (1, 5, 8, 34925, 32773, 32946, 50000)
_UNSIGNED, _DIFFERENCES, _SEPARATE = 1, 2, 2


class Bands(NamedTuple):
    """An open image: its header, its number of channels, and a function that reads its values (H, W, C)."""

    header: Header
    channels: int
    largest: int  # value that the file declares
    load: Callable[[], np.ndarray]


def is_array(file: BinaryIO) -> bool:
    """Return whether a file is one of NumPy's."""
    file.seek(0)
    return file.read(len(_NPY)) == _NPY


def tiff_bands(file: BinaryIO) -> int:
    """Return the number of channels of a TIFF; 0 for another file, and for one that cannot be read."""
    file.seek(0)
    try:
        return _open_tiff(file, costs.MAX_PIXELS).channels if file.read(4) in _TIFF else 0
    except Exception:  # a damaged header raises nearly anything
        return 0


@contextmanager
def opened_bands(file: BinaryIO, max_pixels: int) -> Iterator[Bands]:
    """Open an image of any number of channels; ValueError for one that cannot be read as it is stored."""
    file.seek(0)
    magic = file.read(4)
    if is_array(file):
        yield _open_array(file)
    elif magic in _TIFF:
        costs.check_parts(file)
        yield _open_tiff(file, max_pixels)
    else:
        with opened(file, max_pixels) as image:
            costs.check_pixels_of(image, file, max_pixels)
            yield _of_pillow(image)


def _open_array(file: BinaryIO) -> Bands:
    """Return the array in a .npy file, of shape (H, W) or (H, W, C)."""
    file.seek(0)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(file, max_header_size=_NPY_HEADER)
    count = (*shape, 1)[2]
    if len(shape) not in (2, 3) or 0 in shape or count > MAX_CHANNELS or (shape[0] < _FEW < count and len(shape) == 3):
        raise RefusedError(f"image {{path}} is an array of shape {shape}; save it as (height, width, channels)")
    if dtype.kind not in "iu":
        raise RefusedError(
            f"image {{path}} is an array of {dtype}, whose range is not known; save it as uint8, or as uint16"
        )
    start, size = file.tell(), dtype.itemsize * int(np.prod(shape, dtype=object))
    if file.seek(0, 2) < start + size:
        raise ValueError("it is truncated")

    def load() -> np.ndarray:
        file.seek(start)
        values = np.frombuffer(file.read(size), dtype)
        values = values.reshape(shape[::-1]).T if is_fortran else values.reshape(shape)
        values = values if values.ndim == 3 else values[..., None]
        return values.copy() if dtype == np.uint8 else unsigned(values)

    largest = 255 if dtype == np.uint8 else LARGEST
    return Bands(Header(shape[0], shape[1], 1, 0), count, largest, load)


def _of_pillow(image: Image.Image) -> Bands:
    """Return an image of another format, such as one with transparency as its last channel."""
    header = header_of(image)
    if (wide := wide_values(image)) is not None:
        values = wide[0] if wide[0].ndim == 3 else wide[0][..., None]
        return Bands(header, values.shape[2], wide[1], lambda: values)
    if "16" in str(getattr(image, "tile", "")):
        raise ValueError("its channels of 16 bits cannot be read as they are; save it as a TIFF, or as an array (.npy)")
    if image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK"):
        image = image.convert("RGB")
    return Bands(header, len(image.getbands()), 255, lambda: np.array(image).reshape(*image.size[::-1], -1))


def _open_tiff(file: BinaryIO, max_pixels: int) -> Bands:
    """Return the first page of a TIFF, or all pages of one channel as the channels of one image."""
    file.seek(0)
    start = file.read(16)
    tags: Any = ImageFileDirectory_v2(start if start[2:3] == b"+" else start[:8])
    file.seek(tags.next)
    tags.load(file)
    count, depths, kind = tags.get(277, 1), {*tags.get(258, (1,))}, {*tags.get(339, (_UNSIGNED,))}
    if depths not in ({8}, {16}) or kind != {_UNSIGNED}:
        raise ValueError("its values are no whole numbers of 8 or 16 bits; save it again with such")
    if not 1 <= count <= MAX_CHANNELS:
        raise ValueError(f"it has {count} channels, more than {MAX_CHANNELS}")
    header = Header(tags[257], tags[256], valid_orientation(tags.get(274)), 0)
    pages = _pages(file, tags) if count == 1 else [tags]

    def load() -> np.ndarray:
        values = [_tiff_values(file, page, header, count, max_pixels) for page in pages]
        return values[0] if len(values) == 1 else np.concatenate(values, axis=2)

    return Bands(header, count * len(pages), 255 if depths == {8} else LARGEST, load)


def _pages(file: BinaryIO, first: Any) -> list[Any]:
    """Return the pages from the first on that are of its kind, which several programs write one channel to."""
    pages = [first]
    while len(pages) < MAX_CHANNELS and pages[-1].next:
        page: Any = ImageFileDirectory_v2(b"II*\0" + bytes(4), prefix=first.prefix)
        page._bigtiff = first._bigtiff
        file.seek(pages[-1].next)
        page.load(file)
        if any(page.get(tag, 1) != first.get(tag, 1) for tag in (256, 257, 258, 277, 339)):
            break
        pages.append(page)
    return pages


def _tiff_values(file: BinaryIO, tags: Any, header: Header, count: int, max_pixels: int) -> np.ndarray:
    """Return the values (H, W, C) of a page, whose strips or tiles are decoded one by one."""
    dtype = np.dtype(np.uint8 if tags[258][0] == 8 else "<u2" if tags.prefix == b"II" else ">u2")
    is_tiled, planes = 322 in tags, count if tags.get(284) == _SEPARATE else 1
    rows = tags[323] if is_tiled else min(tags.get(278, header.height), header.height)
    columns = tags[322] if is_tiled else header.width
    offsets, lengths = (tags[324], tags[325]) if is_tiled else (tags[273], tags[279])
    shape = (rows, columns, count // planes)
    if min(shape) < 1 or dtype.itemsize * rows * columns * shape[2] > costs.max_bytes(max_pixels):
        raise ValueError(f"its parts are {columns} wide and {rows} high")
    down, across = -(-header.height // rows), -(-header.width // columns)
    if not len(offsets) == len(lengths) == planes * down * across:
        raise ValueError("its strips or tiles do not cover it")
    values = np.empty((header.height, header.width, count), dtype.newbyteorder("="))
    for i, (offset, length) in enumerate(zip(offsets, lengths, strict=True)):
        plane, place = divmod(i, down * across)
        top, left = place // across * rows, place % across * columns
        height = rows if is_tiled else min(rows, header.height - top)
        file.seek(offset)
        part = _decode_part(file.read(length), tags, (height, columns, shape[2]), dtype)
        into = values[top : top + rows, left : left + columns, plane if planes > 1 else slice(None)]
        into[:] = part[: into.shape[0], : into.shape[1], 0 if planes > 1 else slice(None)]
    return values


def _decode_part(data: bytes, tags: Any, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> np.ndarray:
    """Return the values of one strip or tile, which Pillow decodes as a gray image of the bytes in its rows."""
    compression, predictor = tags.get(259, _NONE), tags.get(317, 1)
    if compression not in _LOSSLESS or predictor not in (1, _DIFFERENCES):
        raise RefusedError(
            f"image {{path}} has the TIFF compression {compression} with the predictor {predictor}, of which channels"
            " are not read; save it again with LZW, deflate or no compression"
        )
    height, width = shape[0], shape[1] * shape[2] * dtype.itemsize
    if compression == _NONE:
        raw = np.frombuffer(data, np.uint8, height * width)
    else:
        fields = ((256, width), (257, height), (258, 8), (259, compression), (262, 1), (273, 122), (277, 1),
                  (278, height), (279, len(data)))  # fmt: skip
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields)
        page = b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + bytes(4)
        with pillow_limit.at_least(height * width), Image.open(BytesIO(page + data), formats=("TIFF",)) as image:
            raw = np.asarray(image).ravel()
    values = raw.view(dtype).reshape(shape).astype(dtype.newbyteorder("="))
    return np.cumsum(values, axis=1, dtype=values.dtype) if predictor == _DIFFERENCES else values
