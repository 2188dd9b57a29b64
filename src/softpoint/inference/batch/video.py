"""A video with its predictions drawn in: H.264 of the size, the frame times and the number of the original."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.images.video_play import Playback, VideoFrame
from softpoint.images.video_seek import pyav
from softpoint.inference.batch.prefetch import ahead
from softpoint.inference.batch.writers.rows import Row
from softpoint.labels.skeleton import Skeleton
from softpoint.paths import atomic_write
from softpoint.viz import draw_keypoints

# Encoders of H.264, the best first; MPEG-4 is what every build of FFmpeg has.
_ENCODERS = ("libx264", "libopenh264", "h264_videotoolbox", "mpeg4")

# How FFmpeg calls the standard's conversion to YUV and its range of values.
_BT601, _LIMITED = 6, 1

# Frames that are decoded ahead.
_AHEAD = 8


def write_video(
    path: Path,
    playback: Playback,
    images: Iterable[list[Row]],
    draw: Callable[[np.ndarray, list[Row]], np.ndarray],
    size: tuple[int, int],
    progress: Callable[[Iterable], Iterable] = iter,
) -> list[str]:
    """Writes an MP4 of what `draw` makes of each frame (H, W, 3) and its rows; returns how it differs, in words.

    Every frame is shown when the original shows it, so a variable frame rate stays one. A frame that cannot be
    decoded is black. An odd width or height of `size` (H, W), which H.264 in yuv420p cannot have, grows by one copied
    column or row at the right or the bottom, which moves no point. Sound is left out. The file is whole or not there.
    """
    with atomic_write(path) as unfinished, pyav().open(str(unfinished), "w", format="mp4") as container:
        encoder = _Encoder(container, playback, size)
        for shown, rows in progress(zip(ahead(playback.play(), _AHEAD), images, strict=False)):
            encoder.write(shown, None if shown.pixels is None else draw(shown.pixels, rows))
        encoder.finish()
    return encoder.told + ["without its sound"] * playback.sound


def draw_rows(
    image: np.ndarray, rows: Iterable[Row], skeleton: Skeleton, names: bool = False, ellipses: bool = False
) -> np.ndarray:
    """A copy of a frame (H, W, 3) of the same size with the points of its rows; points of NaN are left out."""
    for row in rows:
        image = draw_keypoints(
            image,
            row.keypoints,
            confidence=row.confidence,
            covariance=row.covariance.astype(np.float64) if ellipses else None,
            skeleton=skeleton,
            names=names,
            upscale=1,
        )
    return image


class _Encoder:
    """Frames at their own times."""

    def __init__(self, container: Any, playback: Playback, size: tuple[int, int]) -> None:
        codec = next(name for name in _ENCODERS if name in pyav().codecs_available)
        height, width = (length + length % 2 for length in size)
        self.told = [] if "264" in codec else [f"encoded as {codec}, for want of an H.264 encoder"]
        if (height, width) != tuple(size):
            self.told.append(f"{width} x {height} for {size[1]} x {size[0]}, as H.264 has even sizes only")
        self._container, self._playback, self._size = container, playback, (height, width)
        self._first: int | None = None
        self._last = -1
        # MPEG-4 counts no finer.
        self._unit = playback.time_base if codec != "mpeg4" else Fraction(1, 60_000)
        options = {"crf": "20", "preset": "veryfast"} if codec == "libx264" else {}
        self._stream = container.add_stream(codec, rate=playback.rate.limit_denominator(60_000), options=options)
        self._stream.height, self._stream.width, self._stream.pix_fmt = height, width, "yuv420p"
        self._stream.codec_context.time_base = self._unit
        # Said in the file, because players guess by the size.
        self._stream.codec_context.colorspace, self._stream.codec_context.color_range = _BT601, _LIMITED
        if not options:
            self._stream.bit_rate = int(height * width * min(float(playback.rate), 60.0) / 5)

    def write(self, shown: VideoFrame, image: np.ndarray | None) -> None:
        """Encodes one frame; None for a black one."""
        canvas = np.zeros((*self._size, 3), np.uint8)
        if image is not None:
            part = image[: self._size[0], : self._size[1]]
            margins = [(0, min(1, full - has)) for full, has in zip(self._size, part.shape[:2], strict=True)]
            part = np.pad(part, [*margins, (0, 0)], mode="edge")
            canvas[: part.shape[0], : part.shape[1]] = part
        frame = pyav().VideoFrame.from_ndarray(canvas, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU601")
        frame.pts, frame.time_base = self._ticks(shown), self._unit
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Encodes what waits for later frames."""
        self._container.mux(self._stream.encode())

    def _ticks(self, shown: VideoFrame) -> int:
        """When a frame is shown, after the first, in the encoder's unit; later than any before."""
        if shown.ticks is None or self._unit != self._playback.time_base:
            ticks = round(Fraction(shown.time) / self._unit)
        else:
            self._first = shown.ticks if self._first is None else self._first
            ticks = shown.ticks - self._first
        self._last = max(ticks, self._last + 1)
        return self._last
