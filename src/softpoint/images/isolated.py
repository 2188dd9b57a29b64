"""Costly images and packages of images read in processes of their own, ended where they take more than usual ones."""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from softpoint.images.costs import MAX_PIXELS, max_bytes
from softpoint.images.decode_errors import NoProcessError, RefusedError
from softpoint.images.depth import Decoded
from softpoint.images.process import Part, Process, answer, limit_time
from softpoint.images.read_options import ReadOptions
from softpoint.watchdog import watchdog

# Seconds of processor time that an image may take, as data.max_pixels is by default; and times of them that it may
# take in all, on a busy machine.
_SECONDS, _PATIENCE = 5, 12

_TOO_LONG = "was not decoded within {s:g} s of processor time and {patience:g} s in all"
_TOO_MUCH = "takes more than {mib} MiB of memory to decode"
_ENDED = "ended the process that decoded it"

# Whether this process decodes for another one.
is_isolated = False

_idle: defaultdict[tuple[int, int], list[Process]] = defaultdict(list)  # by the process that started them, and pixels


def max_seconds(max_pixels: int) -> float:
    """Return the processor time that an image may take where images may have `max_pixels`.

    >>> max_seconds(25_000_000), max_seconds(200_000_000)
    (5.0, 10.0)
    """
    return _SECONDS * max(1.0, max_pixels / MAX_PIXELS)


def watched(place: str, max_pixels: int, reads: bool) -> AbstractContextManager[None]:
    """Watch a block that decodes in this process: a command in which it hangs for 24 times that time is ended."""
    message = f"{place} was not decoded within {{s}} s; remove it, or convert it again"
    return watchdog.watched(message, 2 * _PATIENCE * max_seconds(max_pixels), reads)


def decoded(path: Path | None, data: bytes, options: ReadOptions) -> Decoded:
    """Return the image at `path`, or in `data` without one, as RGB; raise as `asked` does."""
    place = "" if path is None else str(path.absolute())
    reply, pixels = asked(options.max_pixels, "image", [place, options.exif, options.max_pixels, options.bits], data)
    return Decoded(np.frombuffer(pixels, np.uint8).reshape(reply["shape"]), reply["bits"])


def asked(max_pixels: int, kind: str, request: list[Any], data: bytes = b"") -> tuple[dict[str, Any], bytearray]:
    """Return what a process of limited time and memory answers to a request of an "image" or a "package".

    Raises RefusedError where it refuses the file or exceeds a limit, and NoProcessError where no process starts, which
    is no fault of the file.
    """
    process = _start(max_pixels)
    patience, start = _PATIENCE * max_seconds(max_pixels), time.monotonic()
    try:
        with _ended_after(patience, process):
            process.send(json.dumps([kind, *request]).encode(), data)
            reply, content = json.loads(process.receive()), process.receive()
    except (EOFError, OSError):
        is_late = process.end() == -getattr(signal, "SIGXCPU", 0) or time.monotonic() - start >= patience
        raise RefusedError(_refusal(_TOO_LONG if is_late else _ENDED, max_pixels)) from None
    if "lacks_memory" in reply:  # which it may hold itself
        process.end()
        raise RefusedError(_refusal(_TOO_MUCH, max_pixels))
    _idle[os.getpid(), max_pixels].append(process)
    if "error" in reply:
        raise RefusedError(reply["error"])
    return reply, content


def _start(max_pixels: int) -> Process:
    """Return a process that waits for an image."""
    idle = _idle[os.getpid(), max_pixels]
    while idle:
        if (process := idle.pop()).process.poll() is None:
            return process
        process.end()
    patience = _PATIENCE * max_seconds(max_pixels)
    try:
        process = Process(__name__, str(max_pixels))
        with _ended_after(patience, process):
            process.receive()
    except (EOFError, OSError) as error:
        reason = str(error) or f"it ended early, or was not ready within {patience:g} s"
        raise NoProcessError(
            f"the process that reads costly images and packages did not start: {reason}; the image may be sound: end"
            " other processes, raise their limit (ulimit -u) or free memory, and try again"
        ) from error
    return process


@contextmanager
def _ended_after(seconds: float, process: Process) -> Iterator[None]:
    """End the process where the block takes longer, or fails."""
    timer = threading.Timer(seconds, process.process.kill)
    timer.start()
    try:
        yield
    except BaseException:
        process.end()
        raise
    finally:
        timer.cancel()


@atexit.register
def _end_idle() -> None:
    for (pid, _), processes in _idle.items():
        for process in processes if pid == os.getpid() else ():
            process.end()


def _refusal(reason: str, max_pixels: int) -> str:
    """Return the message of a `RefusedError` for one of the reasons below."""
    limit = {"s": max_seconds(max_pixels), "patience": _PATIENCE * max_seconds(max_pixels)}
    return (
        f"image {{path}} {reason.format(mib=max_bytes(max_pixels) >> 20, **limit)}; save it again as a usual PNG or"
        f" JPEG, remove it, or allow more by data.max_pixels={2 * max(max_pixels, MAX_PIXELS)}"
    )


def run_in_process() -> None:
    """Answer the requests of `asked` until the process that asks ends."""
    from softpoint.images import decode, packages

    global is_isolated
    is_isolated, largest = True, int(sys.argv[1])

    def image(data: bytes, place: str, exif: str, max_pixels: int, bits: int | None) -> tuple[dict[str, Any], Part]:
        image = decode.decoded(Path(place) if place else data, ReadOptions(exif, max_pixels, bits))
        return {"shape": image.pixels.shape, "bits": image.bits}, image.pixels.data

    def reply(part: Callable[[], bytearray]) -> Sequence[Part]:
        (kind, *request), data = json.loads(part()), bytes(part())
        limit_time(max_seconds(largest))
        try:
            head, content = image(data, *request) if kind == "image" else packages.answered(*request)
        except (ValueError, FileNotFoundError) as error:
            head, content = {"lacks_memory" if _lacks_memory(error) else "error": str(error)}, b""
        finally:
            limit_time(0)
        return [json.dumps(head).encode(), content]

    answer(reply, max_bytes(largest))


def _lacks_memory(error: Exception) -> bool:
    said = str(error)  # by OpenCV and HDF5
    return isinstance(error.__cause__, MemoryError) or "Insufficient memory" in said or "allocation failed" in said
