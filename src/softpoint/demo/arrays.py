"""Arrays of anyone's .npy files: nothing of them is unpickled, and their header is checked before their values."""

from __future__ import annotations

import math
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from softpoint.demo.feature_maps import MAX_CELLS

_LAYOUTS = "(H, W), (H, W, C) or (N, H, W, C)"
_MAX_HEADER = 65536  # bytes


def load_maps(path: str | Path) -> Float32[np.ndarray, "..."]:
    """Return the finite real numbers of a .npy file as float32, in its own layout: (H, W), (H, W, C) or (N, H, W, C).

    Raises ValueError, with the file and the way out, for anything else and for more than `MAX_CELLS` values, and
    OSError for a file that cannot be opened.
    """
    path = Path(path)
    with path.open("rb") as file:
        content = file.read(_MAX_HEADER)
        shape, fortran, dtype, start = _header(path, content)
        _check_header(path, shape, dtype)
        end = start + math.prod(shape) * dtype.itemsize
        content += file.read(max(0, end + 1 - len(content)))
    if len(content) != end:
        excess = "more" if len(content) > end else "fewer"
        raise ValueError(f"{path} holds {excess} than the {end - start} bytes that its header promises; save it again")
    values = np.frombuffer(content, dtype, offset=start, count=math.prod(shape))
    values = values.reshape(shape, order="F" if fortran else "C")
    with np.errstate(over="ignore"):
        maps = np.array(values, np.float32, order="C")  # a copy, which may be written to
    if wrong := int((~np.isfinite(maps)).sum()):
        raise ValueError(
            f"{path} has {wrong} of {maps.size} values that are NaN, infinite or beyond float32; replace them"
        )
    return maps


def as_batch(maps: Float32[np.ndarray, "..."]) -> Float32[np.ndarray, "N H W C"]:
    """Return a view of maps (H, W), (H, W, C) or (N, H, W, C) as (N, H, W, C).

    >>> as_batch(np.zeros((3, 4), np.float32)).shape, as_batch(np.zeros((3, 4, 2), np.float32)).shape
    ((1, 3, 4, 1), (1, 3, 4, 2))
    """
    if maps.ndim == 2:
        return maps[None, ..., None]
    return maps[None] if maps.ndim == 3 else maps


def _header(path: Path, content: bytes) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Return shape, whether columns come first, dtype, and where the values start."""
    file = BytesIO(content)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        shape, fortran, dtype = readers[np.lib.format.read_magic(file)](file)
    except Exception as error:  # a parser of untrusted bytes raises nearly anything
        raise ValueError(f"{path} is not a .npy file of numbers; write one with numpy.save(FILE, array)") from error
    return shape, fortran, dtype, file.tell()


def _check_header(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if dtype.kind not in "biuf":
        raise ValueError(f"{path} holds {_kind(dtype)}, not real numbers; save array.astype('float32')")
    if len(shape) not in (2, 3, 4):
        raise ValueError(f"{path} has {len(shape)} axes, {shape}; maps are {_LAYOUTS}")
    if min(shape) < 1:
        raise ValueError(f"{path} is empty: its shape is {shape}; every axis needs at least one entry")
    if (count := math.prod(shape)) > MAX_CELLS:
        raise ValueError(f"{path} has {count} values, {shape}, more than {MAX_CELLS}; save fewer maps, or smaller ones")


def _kind(dtype: np.dtype) -> str:
    names = {"c": "complex numbers", "O": "Python objects", "U": "text", "S": "bytes", "V": "records"}
    return names.get(dtype.kind, f"values of {dtype}")
