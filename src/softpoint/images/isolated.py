"""Costly images decoded in processes of their own, which are ended where they take more than a usual image can."""

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

import numpy as np

from softpoint.images.costs import MAX_PIXELS, max_bytes
from softpoint.images.decode_errors import NoProcessError, RefusedError
from softpoint.images.depth import Decoded
from softpoint.images.process import Part, Process, answer, limit_time
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


def decoded(path: Path | None, data: bytes, exif: str, max_pixels: int, bits: int | None) -> Decoded:
    """Return the image at `path`, or in `data` without one, as of `decode.decoded`; RefusedError where it cannot be.

    Raises NoProcessError where no process starts, which is no fault of the image.
    """
    place, process = "" if path is None else str(path.absolute()), _start(max_pixels)
    patience, start = _PATIENCE * max_seconds(max_pixels), time.monotonic()
    try:
        with _ended_after(patience, process):
            process.send(json.dumps([place, exif, max_pixels, bits]).encode(), data)
            reply = json.loads(process.receive())
            pixels = None if "error" in reply else np.frombuffer(process.receive(), np.uint8).reshape(reply["shape"])
    except (EOFError, OSError):
        is_late = process.end() == -getattr(signal, "SIGXCPU", 0) or time.monotonic() - start >= patience
        raise RefusedError(_refusal(_TOO_LONG if is_late else _ENDED, max_pixels)) from None
    _idle[os.getpid(), max_pixels].append(process)
    if pixels is None:
        raise RefusedError(reply["error"] or _refusal(_TOO_MUCH, max_pixels))
    return Decoded(pixels, reply["bits"])


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
            f"the process that decodes costly images did not start: {reason}; the image may be sound: end other"
            " processes, raise their limit (ulimit -u) or free memory, and try again"
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
    """Answer the requests of `decoded` until the process that asks ends."""
    from softpoint.images import decode

    global is_isolated
    is_isolated, largest = True, int(sys.argv[1])

    def reply(part: Callable[[], bytearray]) -> Sequence[Part]:
        (place, exif, max_pixels, bits), data = json.loads(part()), bytes(part())
        limit_time(max_seconds(largest))
        try:
            image = decode.decoded(Path(place) if place else data, exif=exif, max_pixels=max_pixels, bits=bits)
        except (ValueError, FileNotFoundError) as error:
            lacks_memory = isinstance(error.__cause__, MemoryError) or "Insufficient memory" in str(error)
            return [json.dumps({"error": None if lacks_memory else str(error)}).encode()]
        finally:
            limit_time(0)
        return [json.dumps({"shape": image.pixels.shape, "bits": image.bits}).encode(), image.pixels.data]

    answer(reply, max_bytes(largest))
