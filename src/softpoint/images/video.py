"""Frames of a video, in order and by their number."""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from fractions import Fraction
from itertools import chain, dropwhile, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from softpoint.images import isolated
from softpoint.images.decode_errors import explained
from softpoint.images.ffmpeg import CONTAINERS, open_stream, pyav, upright

# Suffixes of video files.
VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".ogv",
    ".3gp", ".asf", ".dv", ".f4v", ".ivf", ".m2v", ".mxf", ".nut", ".vob", ".y4m",
)  # fmt: skip

# Codecs in which every packet is one frame, so that the packets state the time of every frame.
_ONE_FRAME_PER_PACKET = {
    "h264", "hevc", "mpeg4", "mjpeg", "vp9", "av1", "ffv1", "png", "rawvideo", "prores", "dnxhd", "huffyuv",
}  # fmt: skip

# More threads are hardly faster, and each holds a frame.
_THREADS = min(4, os.cpu_count() or 1)

_DAMAGED = "cannot be decoded: it, or what it builds on, is damaged"


class VideoFrame(NamedTuple):
    """A frame of a video: its pixels, or the reason why there are none."""

    number: int
    ticks: int | None  # time in units of the video's time base; None where the file does not state it
    time: float  # in seconds after the first frame; by the mean rate where the file does not state it
    pixels: np.ndarray | None  # uint8 (H, W, 3) RGB, upright
    error: str = ""


class Video:
    """A video, of which frame n is the n-th that decoding it in order gives, as FFmpeg and OpenCV count.

    A frame that cannot be decoded, or that builds on one, keeps its number and has no pixels. Frames are turned upright
    by the video's rotation. `missing` describes what is lost of the file, or is empty; `count` is the number of frames,
    None where only decoding all of them can count them.
    Raises ValueError for a file that is no video, and for frames of more than `max_pixels`.
    """

    count: int | None

    def __init__(self, path: Path, max_pixels: int) -> None:
        self.path, self.max_pixels, self.missing = path, max_pixels, ""
        self._set_times([], set())
        # Threads that read in turn would move each other's position.
        self._lock, self._next = threading.Lock(), -1
        self._cursor: Iterator[tuple[int, Any]] = iter(())
        with video_explained(path):
            container, stream = self._open(threads=1)
            with container:
                self.time_base: Fraction = stream.time_base or Fraction(1, 1000)
                self.rate: Fraction = stream.average_rate or stream.guessed_rate or Fraction(25)
                self.sound = bool(container.streams.audio)
                codec, form = stream.codec_context.codec.canonical_name, container.format.name
                promised, reorders = stream.frames, stream.codec_context.has_b_frames
                packets: list[tuple[Any, Any, bool, bool]] = []
                error = ""
                try:
                    packets.extend(
                        (p.pts, p.dts, p.is_keyframe, p.is_discard) for p in container.demux(stream) if p.size
                    )
                except pyav().FFmpegError as problem:
                    error = f" ({problem})"
            # The header of an AVI also counts frames that are left out, each of which takes a tick.
            held = _ticks_until_end([dts or 0 for _, dts, *_ in packets]) if form == "avi" else len(packets)
            if error or held < promised:
                of = f" of the {promised} in its header" if promised else ""
                self.missing = f"ends early: it holds {len(packets)} frames{of}{error}"
            first = next(filter(None, self._decoded(0, 1)), None)
            if first is None:
                raise ValueError("holds no frame that can be decoded")
            self.size: tuple[int, int] = upright(first, max_pixels).shape[:2]
            self._start = first.pts
            self._judge_times(packets, codec, form, reorders)

    def __len__(self) -> int:
        """Return the number of frames."""
        if self.count is None:
            with self._lock, video_explained(self.path):
                self._count()
        return self.count or 0

    def play(self, start: int = 0) -> Iterator[VideoFrame]:
        """Yield every frame from `start` on."""
        with video_explained(self.path):
            for number, frame in self._frames(start, _THREADS):
                ticks = frame.pts if self._timed and frame is not None else None
                if self._timed and self._times:
                    ticks = self._times[number]
                time = float(number / self.rate if ticks is None else (ticks - self._start) * self.time_base)
                try:
                    pixels, error = (None, _DAMAGED) if frame is None else (upright(frame, self.max_pixels), "")
                except ValueError as problem:
                    pixels, error = None, str(problem)
                yield VideoFrame(number, ticks, time, pixels, error)

    def read(self, number: int) -> np.ndarray:
        """Return a frame, uint8 (H, W, 3) RGB; ValueError for one that is not there or damaged."""
        assert number >= 0
        with self._lock, video_explained(self.path):
            if self.count is None:
                self._count()
            key = self._keys[bisect_right(self._keys, number) - 1] if self._keys else 0
            if not key <= self._next <= number:
                # One thread: workers read in parallel already, and a thread would not survive a fork.
                self._cursor = self._frames(number, 1)
            self._next = -1  # an error leaves no position to go on from
            for reached, frame in self._cursor:
                if reached == number:
                    self._next = number + 1
                    if frame is None:
                        raise ValueError(f"frame {number} {_DAMAGED}")
                    pixels = upright(frame, self.max_pixels)
                    if pixels.shape[:2] != self.size:
                        raise ValueError(f"changes its size to {pixels.shape[1]} x {pixels.shape[0]} at frame {number}")
                    return pixels
            raise ValueError(
                f"has no frame {number}: it has {self.count}, counted from 0; is it the video that was labeled?"
            )

    def _count(self) -> None:
        """Count the frames by decoding all, and keep the times that lead to them where all are sound."""
        times: list[Any] = []
        keys = set()
        for _, frame in self._frames(0, 1):
            times.append(frame and frame.pts)
            if frame is not None and frame.key_frame:
                keys.add(frame.pts)
        self.count = len(times)
        if self._seekable and None not in times and len(set(times)) == len(times):
            self._set_times(times, keys)

    def _judge_times(self, packets: list[tuple[Any, Any, bool, bool]], codec: str, form: str, reorders: bool) -> None:
        """Find whether the times, key frames and hidden frames of the packets give the times of all frames."""
        # AVI, and what was copied from it, states the order of decoding as that of showing.
        times = [time for time, *_, is_hidden in packets if not is_hidden]
        keys = {time for time, _, is_key, is_hidden in packets if is_key and not is_hidden}
        # A bare stream of MPEG-1 or 2 states no times, and those that FFmpeg gives it may have another order.
        stated = form != "mpegvideo" and None not in [self._start, *times]
        self._timed = stated and not (reorders and (form == "avi" or times == sorted(times)))
        # Times after a seek are guesses in a program stream, where not every packet states its time, and shifted in an
        # AVI without some of its frames.
        self._seekable = form != "mpeg" and not (form == "avi" and self.missing)
        # A stream that was cut begins with packets that give no frame.
        whole = self._timed and times[0] in keys and self._start == min(times) and len(set(times)) == len(times)
        if whole and self._seekable and codec in _ONE_FRAME_PER_PACKET:
            self._set_times(sorted(times), keys)

    def _set_times(self, times: list[int], keys: set[int]) -> None:
        """Seek by the times of the packets of all frames from now on; without them, count frames."""
        self._times = times
        self.count = len(times) or None
        self._numbers = {time: number for number, time in enumerate(times)}
        self._keys = sorted(self._numbers[time] for time in keys)

    def _frames(self, start: int, threads: int) -> Iterator[tuple[int, Any]]:
        """Yield the number of each frame from `start` on and the frame, None where it is damaged."""
        timed, broken, damaged = bool(self._times), False, 0
        due, decoded = self._decoded_before(start, threads)
        for frame in decoded:
            if frame is None:
                damaged += due > 0
                broken = True
                continue
            number = self._numbers.get(frame.pts, -1) if timed else due
            if number != due and not damaged:
                break
            if number < due:
                continue
            lost = range(max(due, start), number)
            yield from ((missing, None) for missing in lost)
            damaged += frame.is_corrupt
            broken = frame.is_corrupt or ((broken or number > due) and not frame.key_frame)
            if number >= start:
                yield number, None if broken else frame
            due = number + 1
        if damaged and timed:
            yield from ((missing, None) for missing in range(max(due, start), len(self._times)))
        elif damaged:
            self.missing = self.missing or f"has {damaged} damaged parts, whose frames are not counted"
        elif due < len(self._times):
            # No damage explains the missing frame, so the packets do not state the times of the frames.
            self._set_times([], set())
            yield from self._frames(max(due, start), threads)

    def _decoded_before(self, start: int, threads: int) -> tuple[int, Iterator[Any]]:
        """Return decoded frames from a key frame before `start` on, or from the first, and the number of the first."""
        place = bisect_right(self._keys, start)
        # Some containers seek too far: then from the key frame before.
        for key in self._keys[max(place - 2, 0) : place][::-1]:
            frames = self._decoded(key, threads)
            first = next(frames, None)
            if first is None or not first.key_frame or first.is_corrupt:
                continue
            if (number := self._numbers.get(first.pts, start + 1)) <= start:
                return number, chain([first], frames)
        return 0, self._decoded(0, threads)

    def _decoded(self, key: int, threads: int) -> Iterator[Any]:
        """Yield each frame from key frame number `key`, or from the first; None for a packet that is damaged."""
        container, stream = self._open(threads)
        damage = pyav().FFmpegError
        # A file may end within a packet.
        with container, suppress(damage):
            packets: Iterable[Any] = container.demux(stream)
            if key:
                # The start of a stream may hold parameters that its header lacks; a decoder keeps them when it seeks.
                next(container.decode(stream), None)
                container.seek(self._times[key], stream=stream)
                packets = dropwhile(lambda packet: not packet.is_keyframe, container.demux(stream))
            for packet in packets:
                try:
                    with isolated.watched(f"video {self.path}", self.max_pixels, reads=False):
                        frames = packet.decode()
                    yield from frames
                except damage:
                    yield None

    def _open(self, threads: int) -> tuple[Any, Any]:
        with isolated.watched(f"video {self.path}", self.max_pixels, reads=True):
            return open_stream(str(self.path), self.max_pixels, threads, {"format_whitelist": CONTAINERS})


def video_explained(path: Path) -> AbstractContextManager[None]:
    """Turn any error of a decoder into a ValueError about the video at `path`."""
    return explained(f"video {path}", "convert it to MP4 again")


def _ticks_until_end(ticks: list[int]) -> int:
    """Return the number of ticks up to the end of the last frame, which lasts as long as most do.

    >>> _ticks_until_end([0, 60, 120, 360, 420])
    480
    """
    steps = sorted(later - earlier for earlier, later in pairwise(ticks))
    return ticks[-1] + (steps[len(steps) // 2] if steps else 1) if ticks else 0
