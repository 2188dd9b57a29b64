"""Videos with predictions drawn in: H.264 with the frame times and the number of frames of the original."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from softpoint.images.ffmpeg import pyav
from softpoint.images.video import Video, VideoFrame
from softpoint.inference.batch.predictions import Row
from softpoint.inference.batch.stream import prefetch
from softpoint.paths import atomic_write

# Encoders of H.264, the best first; every build of FFmpeg has MPEG-4.
_ENCODERS = ("libx264", "libopenh264", "h264_videotoolbox", "mpeg4")
_MPEG4_TIME_BASE = Fraction(1, 60_000)  # the finest

# FFmpeg's numbers for the standard conversion to YUV and its range of values.
_BT601, _LIMITED = 6, 1

_PREFETCH = 8  # frames decoded ahead


def write_video(
    path: Path,
    video: Video,
    rows: Iterable[list[Row]],
    draw: Callable[[np.ndarray, list[Row]], np.ndarray],
    size: tuple[int, int],
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> list[str]:
    """Write an MP4 of each frame (H, W, 3) after `draw`; return remarks on how the video differs from the original.

    Every frame keeps its time, so a variable frame rate stays one; one that cannot be decoded is black. An odd width or
    height of `size` (H, W), which yuv420p cannot have, grows by one copied column or row at the right or bottom, so
    that no point moves. Sound is left out. An error leaves no file.
    """
    with atomic_write(path) as temporary, pyav().open(str(temporary), "w", format="mp4") as container:
        encoder = Encoder(container, video, size)
        for frame, frame_rows in progress(zip(prefetch(video.play(), _PREFETCH), rows, strict=False)):
            encoder.write(frame, None if frame.pixels is None else draw(frame.pixels, frame_rows))
        encoder.flush()
    return encoder.remarks + ["without its sound"] * video.sound


class Timed(Protocol):
    """The times of frames: their mean rate, and the unit of `VideoFrame.ticks`."""

    @property
    def rate(self) -> Fraction: ...

    @property
    def time_base(self) -> Fraction: ...


class Encoder:
    """Encodes frames at their own times."""

    def __init__(self, container: Any, video: Timed, size: tuple[int, int]) -> None:
        codec = next(name for name in _ENCODERS if name in pyav().codecs_available)
        height, width = (length + length % 2 for length in size)
        self.remarks = [] if "264" in codec else [f"encoded as {codec}, as no H.264 encoder is installed"]
        if (height, width) != tuple(size):
            self.remarks.append(f"{width} x {height} for {size[1]} x {size[0]}, as H.264 has even sizes only")
        self._container, self._video, self._size = container, video, (height, width)
        self._first: int | None = None
        self._last = -1
        self._time_base = _MPEG4_TIME_BASE if codec == "mpeg4" else video.time_base
        options = {"crf": "20", "preset": "veryfast"} if codec == "libx264" else {}
        self._stream = container.add_stream(codec, rate=video.rate.limit_denominator(60_000), options=options)
        self._stream.height, self._stream.width, self._stream.pix_fmt = height, width, "yuv420p"
        context = self._stream.codec_context
        context.time_base = self._time_base
        # Stored in the file, because players guess from the size otherwise.
        context.colorspace, context.color_range = _BT601, _LIMITED
        if not options:
            self._stream.bit_rate = int(height * width * min(float(video.rate), 60.0) / 5)

    def write(self, original: VideoFrame, image: np.ndarray | None) -> None:
        """Encode one frame, black if `image` is None."""
        canvas = np.zeros((*self._size, 3), np.uint8)
        if image is not None:
            part = image[: self._size[0], : self._size[1]]
            margins = [(0, min(1, full - has)) for full, has in zip(self._size, part.shape[:2], strict=True)]
            part = np.pad(part, [*margins, (0, 0)], mode="edge")
            canvas[: part.shape[0], : part.shape[1]] = part
        frame = pyav().VideoFrame.from_ndarray(canvas, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU601")
        frame.pts, frame.time_base = self._ticks(original), self._time_base
        self._container.mux(self._stream.encode(frame))

    def flush(self) -> None:
        """Encode the frames that wait for later ones."""
        self._container.mux(self._stream.encode())

    def _ticks(self, frame: VideoFrame) -> int:
        """Return the time of a frame after the first, in the encoder's time base and later than any before."""
        if frame.ticks is None or self._time_base != self._video.time_base:
            ticks = round(Fraction(frame.time) / self._time_base)
        else:
            self._first = frame.ticks if self._first is None else self._first
            ticks = frame.ticks - self._first
        self._last = max(ticks, self._last + 1)
        return self._last
