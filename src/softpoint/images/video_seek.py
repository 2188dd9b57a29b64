"""Single frames of a video by their number, exactly."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

# A video is untrusted: of FFmpeg's readers only those of plain video files, none that opens further files
# or addresses (playlists, concatenations).
_CONTAINERS = "mov,mp4,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,gif,h264,hevc,m4v,mjpeg,apng,nut"

# Suffixes of video files.
VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".ogv",
)  # fmt: skip

# Codecs in which every packet is one frame, so that the packets state the time of every frame.
_ONE_FRAME_PER_PACKET = {
    "h264", "hevc", "mpeg4", "mjpeg", "vp9", "av1", "ffv1", "png", "rawvideo", "prores", "dnxhd", "huffyuv",
}  # fmt: skip


class Video:
    """An open video; frame 0 is the first that is shown. Frames are turned upright by the video's rotation.

    Where packets state the time of every frame, decoding starts at the key frame before the requested one;
    otherwise frames are counted from the start. Both give the frame of decoding the whole video in order.
    Raises ValueError for a file that is no video, and for frames of more than `max_pixels`.
    """

    def __init__(self, path: Path, max_pixels: int) -> None:
        self.path, self.max_pixels = path, max_pixels
        self._at: int | None = None  # of the last decoded frame
        self._decoded: int | None = None  # number of frames since the start; None after a seek
        # Threads that read in turn would move each other's position.
        self._lock = threading.Lock()
        with self._explained():
            container, stream = open_stream(path, max_pixels, threads=1)
            with container:
                self._times, self._keys = timetable(stream, container.demux(stream))
            self._restart()
            first = self._next()
            if first is None:
                raise ValueError("holds no frame")
            if self._times and first.pts != self._times[0]:
                self._times = []
            self.size: tuple[int, int] = upright(first, self.max_pixels).shape[:2]

    def __len__(self) -> int:
        """Return the number of frames; where packets do not state it, all are decoded to count them."""
        if not self._times:
            with self._lock, self._explained():
                self._restart()
                while self._next() is not None:
                    pass
                return self._decoded or 0
        return len(self._times)

    def read(self, number: int) -> np.ndarray:
        """Return a frame, uint8 (H, W, 3) RGB; ValueError for one that is not there or damaged."""
        assert number >= 0
        with self._lock, self._explained():
            frame = self._seek(number) or self._count(number)
            pixels = upright(frame, self.max_pixels)
            if pixels.shape[:2] != self.size:
                raise ValueError(f"changes its size to {pixels.shape[1]} x {pixels.shape[0]} at frame {number}")
            return pixels

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn errors of the block into one about this video, after which reading starts over."""
        try:
            with video_explained(self.path):
                yield
        except ValueError:
            self._at = self._decoded = None  # decoding cannot continue from there
            raise

    def _restart(self) -> None:
        # One thread: workers read in parallel already, and a thread would not survive a fork.
        self._container, self._stream = open_stream(self.path, self.max_pixels, threads=1)
        self._frames: Iterator[Any] = self._container.decode(self._stream)
        self._at = None
        self._decoded = 0

    def _next(self) -> Any:
        frame = next(self._frames, None)
        if frame is not None:
            self._at = frame.pts
            self._decoded = None if self._decoded is None else self._decoded + 1
        return frame

    def _seek(self, number: int) -> Any:
        """Return the frame by its time; None where times are unknown or do not lead to it."""
        if not self._times:
            return None
        if number >= len(self._times):
            raise self._beyond(number, len(self._times))
        target = self._times[number]
        place = bisect_right(self._keys, target) - 1
        key = self._keys[place] if place >= 0 else self._times[0]
        if self._at is None or not key <= self._at < target:
            self._container.seek(key, stream=self._stream)
            self._frames, self._decoded = self._container.decode(self._stream), None
        while (frame := self._next()) is not None and frame.pts is not None and frame.pts <= target:
            if frame.pts == target:
                return frame
        return None

    def _count(self, number: int) -> Any:
        """Return the frame by counting."""
        if self._decoded is None or self._decoded > number:
            self._restart()
        while (frame := self._next()) is not None:
            if self._decoded == number + 1:
                return frame
        raise self._beyond(number, self._decoded or 0)

    def _beyond(self, number: int, count: int) -> ValueError:
        return ValueError(f"has no frame {number}: it has {count}, counted from 0; is it the video that was labeled?")


@contextmanager
def explained(place: str, advice: str) -> Iterator[None]:
    """Turn any error of a decoder on a damaged or hostile file into a ValueError about `place`."""
    try:
        yield
    except Exception as error:
        if type(error) is ValueError:
            raise ValueError(f"{place} {error}") from error
        raise ValueError(f"{place} cannot be decoded ({error}); {advice}") from error


def video_explained(path: Path) -> AbstractContextManager[None]:
    """Turn any error of a decoder into a ValueError about the video at `path`."""
    return explained(f"video {path}", "convert it to MP4 again")


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise ValueError for an image without pixels, or with more than `max_pixels`."""
    if not 0 < width * height <= max_pixels:
        raise ValueError(f"is {width} x {height}; more than {max_pixels} pixels are refused")


def open_stream(path: Path, max_pixels: int, threads: int) -> tuple[Any, Any]:
    """Return the open container and its first video stream; ValueError without one, and for too large frames."""
    container = pyav().open(str(path), options={"format_whitelist": _CONTAINERS})
    if not container.streams.video:
        raise ValueError("holds no video")
    stream = container.streams.video[0]
    check_pixels(stream.width, stream.height, max_pixels)
    stream.codec_context.thread_count = threads
    stream.codec_context.thread_type = "NONE" if threads == 1 else "AUTO"
    return container, stream


def timetable(stream: Any, packets: Iterable[Any]) -> tuple[list[int], list[int]]:
    """Return the times of all frames and of the key frames, in order; empty where packets do not state them."""
    if stream.codec_context.name not in _ONE_FRAME_PER_PACKET:
        return [], []
    # The last packet only marks the end.
    shown = [(p.pts, p.is_keyframe) for p in packets if p.size and not p.is_discard]
    times = [time for time, _ in shown]
    if None in times or len(set(times)) < len(times):
        return [], []
    return sorted(times), sorted(time for time, is_key in shown if is_key)


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
