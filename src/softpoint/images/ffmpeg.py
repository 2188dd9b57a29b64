"""What FFmpeg gives of a video or stream, within limits."""

from __future__ import annotations

from math import isqrt
from typing import Any

import numpy as np

# A video is untrusted: of FFmpeg's readers only those of plain video files, none that opens further files
# or addresses (playlists, concatenations).
CONTAINERS = ",".join((
    "mov,mp4,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,gif,h264,hevc,m4v,mjpeg,apng,nut,mxf,dv,ivf",
    "yuv4mpegpipe",
))  # fmt: skip

# Codecs whose decoders would fill up a damaged frame with what they decoded before it.
_FILLED_UP = {"mjpeg", "hevc"}

_LARGEST = (1 << 31) - 1  # number of pixels that FFmpeg can be told
_PADDING = 256  # rows and columns by which FFmpeg may enlarge a frame before it counts its pixels


def open_stream(
    place: str, max_pixels: int, threads: int, options: dict[str, str], timeout: float | None = None
) -> tuple[Any, Any]:
    """Return the open container and its first video stream; ValueError without one, and for too large frames."""
    # A frame may be larger than the file states, and is refused before its memory is taken.
    room = _PADDING * (4 * isqrt(max_pixels) + 2 * _PADDING)  # for sides of 1 : 16
    limits = {"max_pixels": str(min(max_pixels + room, _LARGEST))}
    container = pyav().open(place, options=options | limits, timeout=timeout)
    if not container.streams.video:
        raise ValueError("holds no video")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise ValueError("is in a codec that FFmpeg does not know; convert it to MP4")
    if stream.width:  # not where the file begins without a header of the codec
        check_pixels(stream.width, stream.height, max_pixels)
    if stream.codec_context.codec.canonical_name in _FILLED_UP:
        limits["err_detect"] = "explode"  # an error instead
    stream.codec_context.options = limits
    stream.codec_context.thread_count = threads
    stream.codec_context.thread_type = "NONE" if threads == 1 else "AUTO"
    return container, stream


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise ValueError for an image without pixels, or with more than `max_pixels`."""
    if not 0 < width * height <= max_pixels:
        raise ValueError(f"is {width} x {height}; more than {max_pixels} pixels are refused")


def upright(frame: Any, max_pixels: int) -> np.ndarray:
    """Return the pixels of a decoded frame, uint8 (H, W, 3) RGB, turned upright by its rotation."""
    check_pixels(frame.width, frame.height, max_pixels)
    if frame.rotation % 90:
        raise ValueError(f"is to be shown turned by {frame.rotation} degrees; write it again upright")
    # The reformatter that a frame brings would outlive this call, and its threads would hang a forked worker.
    pixels = pyav().video.reformatter.VideoReformatter().reformat(frame, format="rgb24").to_ndarray()
    return np.ascontiguousarray(np.rot90(pixels, frame.rotation // 90))


def pyav() -> Any:
    """Return the PyAV library; ValueError with the command that installs it."""
    try:
        import av
    except ImportError as error:
        raise ValueError('needs PyAV to be read: pip install "softpoint[video]"') from error
    return av
