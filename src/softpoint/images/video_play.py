"""Playback of a video in order; damaged frames keep their number and have no pixels."""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from softpoint.images.video_seek import open_stream, pyav, timetable, upright, video_explained

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


class Playback:
    """A video to play in order; frame n is that of `Video.read(n)`.

    Where packets state the time of every frame, `count` is their number, and one that cannot be decoded keeps its
    number and has no pixels. Otherwise frames are counted, and a packet without one counts as a damaged frame.
    `cut` describes what is missing at the end, or is empty.
    Raises ValueError for a file that is no video, and for frames of more than `max_pixels`.
    """

    def __init__(self, path: Path, max_pixels: int) -> None:
        self.path, self.max_pixels, self.cut = path, max_pixels, ""
        with video_explained(path):
            container, stream = open_stream(path, max_pixels, threads=1)
            with container:
                self.time_base: Fraction = stream.time_base or Fraction(1, 1000)
                self.rate: Fraction = stream.average_rate or stream.guessed_rate or Fraction(25)
                self.sound = bool(container.streams.audio)
                packets = _Packets(container, stream)
                self._times, self._keys = timetable(stream, packets)
                if self._times and (packets.error or packets.count < stream.frames):
                    promised = f" of the {stream.frames} in its header" if stream.frames else ""
                    self.cut = f"ends early: it holds {packets.count} frames{promised}{packets.error}"

    @property
    def count(self) -> int | None:
        """Number of frames; None where only decoding can count them."""
        return len(self._times) or None

    def play(self, start: int = 0) -> Iterator[VideoFrame]:
        """Yield every frame from `start` on."""
        if not self._times:
            yield from self._counted(self._decoded(None), start)
            return
        decoded = self._decoded(self._key_before(start))
        first = next(decoded, None)
        ticks, target = getattr(first, "pts", None), self._times[min(start, len(self._times) - 1)]
        if start and (ticks is None or ticks > target):  # some containers seek too far
            decoded.close()
            decoded, first = self._decoded(None), None
        yield from self._placed(chain([] if first is None else [first], decoded), start)

    def _key_before(self, start: int) -> int | None:
        """Return the time of a key frame to decode from; None for the start of the file."""
        if not 0 < start < len(self._times):
            return None
        # Not the last key frame but the one before: what is damaged after the last may show an earlier one.
        place = bisect_right(self._keys, self._times[start]) - 2
        return self._keys[place] if place > 0 else None

    def _decoded(self, key: int | None) -> Generator[Any, None, None]:
        """Yield frames from the one at `key` on, and an error for each packet without one."""
        with video_explained(self.path):
            container, stream = open_stream(self.path, self.max_pixels, _THREADS)
        with container:
            if key is not None:
                container.seek(key, stream=stream)
            for packet in _Packets(container, stream):
                try:
                    yield from packet.decode()
                except pyav().FFmpegError as error:
                    yield error

    def _placed(self, decoded: Iterable[Any], start: int) -> Iterator[VideoFrame]:
        """Yield each frame with the number of its time; those that never come are damaged."""
        due = start
        for frame in decoded:
            number = -1 if isinstance(frame, Exception) or frame.pts is None else bisect_left(self._times, frame.pts)
            if not due <= number < len(self._times) or self._times[number] != frame.pts:
                continue
            yield from map(self._lost, range(due, number))
            yield self._shown(number, self._times[number], self._times[0], frame)
            due = number + 1
        yield from map(self._lost, range(due, len(self._times)))

    def _counted(self, decoded: Iterable[Any], start: int) -> Iterator[VideoFrame]:
        """Yield each frame, and each error, with the next number."""
        first = None
        for number, frame in enumerate(decoded):
            ticks = getattr(frame, "pts", None)
            first = ticks if first is None else first
            if number < start:
                continue
            if isinstance(frame, Exception):
                yield VideoFrame(number, None, float(number / self.rate), None, f"cannot be decoded ({frame})")
            else:
                yield self._shown(number, ticks, first, frame)

    def _shown(self, number: int, ticks: int | None, first: int | None, frame: Any) -> VideoFrame:
        known = ticks is not None and first is not None
        time = float((ticks - first) * self.time_base) if known else float(number / self.rate)  # type: ignore[operator]
        if frame.is_corrupt:
            return VideoFrame(number, ticks, time, None, _DAMAGED)
        try:
            return VideoFrame(number, ticks, time, upright(frame, self.max_pixels))
        except ValueError as error:
            return VideoFrame(number, ticks, time, None, str(error))

    def _lost(self, number: int) -> VideoFrame:
        ticks = self._times[number]
        return VideoFrame(number, ticks, float((ticks - self._times[0]) * self.time_base), None, _DAMAGED)


class _Packets:
    """The packets of a stream up to the end of the file, their count, and the error that ended them."""

    def __init__(self, container: Any, stream: Any) -> None:
        self._packets, self.count, self.error = container.demux(stream), 0, ""

    def __iter__(self) -> Iterator[Any]:
        try:
            for packet in self._packets:
                self.count += packet.size > 0
                yield packet
        except pyav().FFmpegError as error:
            self.error = f" ({error})"
