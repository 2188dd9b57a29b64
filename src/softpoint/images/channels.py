"""The channels that images are read with: 3 are RGB, 1 is gray, and any other number are the bands of a file."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from softpoint.images.decode_errors import RefusedError

# A number of channels, or the positions of those that are read, in this order.
Channels = int | tuple[int, ...]

MAX_CHANNELS = 256


def check_channels(channels: int | Sequence[int]) -> Channels:
    """Return the value of data.channels; ValueError for anything but a number, or different positions from 0 on.

    >>> check_channels(3), check_channels([4, 2, 0])
    (3, (4, 2, 0))
    """
    if type(channels) is int and 1 <= channels <= MAX_CHANNELS:
        return channels
    if isinstance(channels, Sequence) and not isinstance(channels, str):
        positions = tuple(channels)
        is_valid = all(type(position) is int and 0 <= position < MAX_CHANNELS for position in positions)
        if is_valid and len(positions) == len(set(positions)) > 0:
            return positions
    raise ValueError(
        f"data.channels={channels}: give 3 for RGB, 1 for gray, another number of bands up to {MAX_CHANNELS}, or a list"
        " of the bands to read, counted from 0, such as [3,2,1]"
    )


def count_channels(channels: Channels) -> int:
    """Return the number of channels of an image.

    >>> count_channels(1), count_channels((4, 2, 0))
    (1, 3)
    """
    return channels if isinstance(channels, int) else len(channels)


def are_bands(channels: Channels) -> bool:
    """Return whether images are read as they are stored, and not as RGB or gray.

    >>> are_bands(1), are_bands(5), are_bands((2, 1, 0))
    (False, True, True)
    """
    return channels not in (1, 3)


def fitted(pixels: np.ndarray, channels: Channels) -> np.ndarray:
    """Return pixels uint8 (H, W, C) with these channels; RefusedError where the image has others.

    Colors become gray by their luma (Rec. 601), and gray becomes RGB; of other images the channels are selected.

    >>> fitted(np.array([[[0, 100, 0]]], np.uint8), 1).tolist(), fitted(np.array([[[1, 2, 3, 4]]]), (3, 0)).tolist()
    ([[[59]]], [[[4, 1]]])
    """
    count = pixels.shape[2]
    if isinstance(channels, tuple) and max(channels) < count:
        return np.ascontiguousarray(pixels[..., list(channels)])
    if count == channels:
        return pixels
    if (count, channels) == (3, 1):
        return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None]
    if (count, channels) == (1, 3):
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    wanted = list(channels) if isinstance(channels, tuple) else channels
    raise RefusedError(
        f"image {{path}} has {count} channel{'s' * (count > 1)}, which data.channels={wanted} does not read; remove"
        f" it, or train with data.channels={count} if all images have as many"
    )


def luma(pixels: np.ndarray) -> np.ndarray:
    """Return the gray levels uint8 (H, W) of pixels (H, W, C): the mean of channels that are no colors.

    >>> luma(np.array([[[10, 20]]], np.uint8)).tolist()
    [[15]]
    """
    if pixels.shape[2] == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels.mean(2, dtype=np.float32).astype(np.uint8)


def is_gray(pixels: np.ndarray) -> bool:
    """Return whether the channels of pixels (H, W, C) are equal everywhere.

    >>> is_gray(np.full((2, 2, 3), 7, np.uint8)), is_gray(np.array([[[7, 7, 8]]], np.uint8))
    (True, False)
    """
    few = pixels[:: max(1, pixels.shape[0] // 16)]  # most images with colors show them in a few rows
    return all(bool((part == part[..., :1]).all()) for part in (few, pixels))
