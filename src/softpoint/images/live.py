"""Frames of cameras and of streams at an address, as they come."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from softpoint.images import isolated
from softpoint.images.ffmpeg import CONTAINERS, check_pixels, open_stream, pyav, upright

# What an address that a user typed may be, and FFmpeg's protocols and formats for it: none of a playlist, which would
# open further addresses, and none of a file.
SCHEMES = ("rtsp", "rtsps", "http", "https", "udp")
_PROTOCOLS = "rtsp,rtsps,rtp,srtp,http,https,httpproxy,tls,tcp,udp"
_FORMATS = f"{CONTAINERS},rtsp,mpjpeg,image2pipe,jpeg_pipe"

_REFUSES_REDIRECTS = (62, 12)  # the first version of libavformat that does, FFmpeg 8.1

_PATIENCE = 10.0  # seconds without an answer or a frame


@dataclass(frozen=True)
class Stream:
    """A camera by its number, or an address."""

    place: str

    @property
    def name(self) -> str:
        """The name for messages and files, without a password, query or fragment.

        >>> Stream("0").name, Stream("rtsp://me:secret@cam.local/live?key=1#key").name
        ('camera 0', 'rtsp://cam.local/live')
        >>> Stream("rtsp://me:p@ss@cam/live").name, Stream("rtsp://me:pa/ss@cam/live").name
        ('rtsp://cam/live', 'rtsp://cam/live')

        Where a ? or # comes before the last @, either a password holds the one or a query the other:

        >>> Stream("rtsp://me:p#ss@cam/live").name, Stream("http://cam/live?key=a@b").name
        ('rtsp://...', 'http://...')
        """
        if self.place.isdigit():
            return f"camera {self.place}"
        scheme, _, rest = self.place.partition("://")
        before, _, place = rest.rpartition("@")
        return f"{scheme}://" + ("..." if re.search("[?#]", before) else re.split("[?#]", place)[0])

    def frames(self, max_pixels: int) -> Iterator[tuple[float, np.ndarray]]:
        """Yield the seconds since the first frame and the pixels, uint8 (H, W, 3) RGB, of each frame.

        A live stream is read in a thread, and frames that come while none is taken are left out. Raises ValueError for
        a camera or an address that cannot be opened, or that stops answering.
        """
        is_camera = self.place.isdigit()
        try:
            yield from _newest(_camera(int(self.place), max_pixels)) if is_camera else self._of_address(max_pixels)
        except ValueError as error:
            raise ValueError(f"source={self.name} {error}") from None

    def _of_address(self, max_pixels: int) -> Iterator[tuple[float, np.ndarray]]:
        # Another address than this is one that nobody typed.
        options = {"format_whitelist": _FORMATS, "protocol_whitelist": _PROTOCOLS, "max_redirects": "0"}
        if self.place.lower().startswith("http") and pyav().library_versions["libavformat"] < _REFUSES_REDIRECTS:
            raise ValueError("needs PyAV 18 or newer, which can refuse redirections: pip install -U av")
        try:
            container, stream = open_stream(self.place, max_pixels, 1, options | {"rtsp_transport": "tcp"}, _PATIENCE)
        except (OSError, pyav().FFmpegError) as error:
            raise ValueError(
                f"cannot be opened ({_reason(error)}); check that it is on and answers, and give the address that it"
                " redirects to, if it does"
            ) from None
        try:
            with container:
                frames = _decoded(container, stream, max_pixels)
                yield from frames if container.duration else _newest(frames)  # a file has a duration
        except (OSError, pyav().FFmpegError) as error:
            raise ValueError(f"broke off ({_reason(error)})") from None


def _reason(error: Any) -> str:
    """Return why an address cannot be read, without the address, which may hold a password."""
    return error.strerror or type(error).__name__


def is_stream(source: str) -> bool:
    """Return whether a source is the number of a camera or an address.

    >>> is_stream("0"), is_stream("rtsp://cam/1"), is_stream("day1/0"), is_stream("file:///etc/passwd")
    (True, True, False, False)
    """
    return re.fullmatch(r"\d{1,3}", source) is not None or source.partition("://")[0].lower() in SCHEMES


def _camera(number: int, max_pixels: int) -> Iterator[tuple[float, np.ndarray]]:
    logging = cv2.utils.logging
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)  # its warnings say less than the message below
    camera = cv2.VideoCapture(number)
    try:
        if not camera.isOpened():
            raise ValueError(
                "cannot be opened: there is none of this number, or another program has it, or you may not use it (on"
                f" Linux /dev/video{number}, group video); name another, an address such as rtsp://..., or a path"
            )
        begin = time.monotonic()
        while True:
            read, pixels = camera.read()
            if not read:
                return
            check_pixels(pixels.shape[1], pixels.shape[0], max_pixels)
            yield time.monotonic() - begin, np.ascontiguousarray(pixels[..., ::-1])
    finally:
        camera.release()


def _decoded(container: Any, stream: Any, max_pixels: int) -> Iterator[tuple[float, np.ndarray]]:
    first: float | None = None
    begin = time.monotonic()
    for packet in container.demux(stream):
        frames: list[Any] = []
        # A stream is often entered between key frames, or loses packets.
        with suppress(pyav().FFmpegError), isolated.watched("the stream", max_pixels, reads=False):
            frames = packet.decode()
        for frame in frames:
            seconds = time.monotonic() - begin if frame.time is None else float(frame.time)
            first = seconds if first is None else first
            yield seconds - first, upright(frame, max_pixels)


def _newest(frames: Iterator[tuple[float, np.ndarray]]) -> Iterator[tuple[float, np.ndarray]]:
    """Yield the newest frame each time; a thread reads them as they come, so that none waits.

    >>> list(_newest(iter([])))
    []
    """
    changed, waiting = threading.Condition(), list[tuple[float, np.ndarray]]()
    ended: list[Exception | None] = []
    stop = threading.Event()

    def read() -> None:
        problem: Exception | None = None
        try:
            for frame in frames:
                if stop.is_set():
                    break
                with changed:
                    waiting[:] = [frame]
                    changed.notify()
        except Exception as error:  # raised where the frames are taken
            problem = error
        with changed:
            ended.append(problem)
            changed.notify()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while True:
            with changed:
                if not changed.wait_for(lambda: waiting or ended, _PATIENCE):
                    raise ValueError(f"no frame came for {_PATIENCE:.0f} s")
                frame = waiting.pop() if waiting else None
            if frame is None:
                if (problem := ended[0]) is not None:
                    raise problem
                return
            yield frame
    finally:
        stop.set()
        thread.join(_PATIENCE)
