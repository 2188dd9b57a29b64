"""A process of its own that answers requests and can be ended, for work on files that may take any time and memory."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

# Bytes that the libraries of a process take at most, where the system does not state what they take.
_LIBRARIES = 1 << 29

Part = bytes | bytearray | memoryview


class Process:
    """A new process that runs `run_in_process` of a module, which calls `answer`; `argument` is its only one.

    Its methods raise EOFError or OSError where it has ended.
    """

    def __init__(self, module: str, argument: str = "") -> None:
        modules = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        self.process = subprocess.Popen(
            # -P, because the working folder may hold files with the names of modules.
            [sys.executable, "-P", "-c", f"from {module} import run_in_process; run_in_process()", argument],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": modules, "OPENCV_FOR_THREADS_NUM": "1"},
            start_new_session=True,  # Ctrl-C is for the process that asks, which finishes what it does
        )
        assert self.process.stdin and self.process.stdout
        self._requests, self._replies = self.process.stdin, self.process.stdout

    def send(self, *parts: Part) -> None:
        """Send the parts of a request."""
        _write(self._requests, *parts)

    def receive(self) -> bytearray:
        """Return the next part of a reply."""
        return _read(self._replies)

    def end(self) -> int:
        """End the process at once; return its exit code, the negative number of a signal."""
        self.process.kill()
        code = self.process.wait()
        self._replies.close()
        with suppress(OSError):  # of what was still to be sent
            self._requests.close()
        return code


def answer(reply: Callable[[Callable[[], bytearray]], Sequence[Part]], max_bytes: int) -> None:
    """Send what `reply` returns for each request, whose parts it reads, until the process that asks ends.

    A first part, which is empty, is sent at the start. From then on the process may take `max_bytes` more.
    """
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no reply
    _write(replies, b"")
    limit_memory(max_bytes)
    with suppress(EOFError, BrokenPipeError):
        while True:
            _write(replies, *reply(lambda: _read(sys.stdin.buffer)))


def limit_memory(more: int) -> None:
    """Let this process take no more than so many more bytes, where the system can: Linux, others may not enforce it."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        limit = _allowed(resource.RLIMIT_DATA, _taken() + more)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def limit_time(seconds: float) -> None:
    """Let this process take no more than so many more seconds of processor time, where the system can; 0 for any."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        limit = int(time.process_time() + seconds) + 1 if seconds else resource.RLIM_INFINITY
        most = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (_allowed(resource.RLIMIT_CPU, limit), most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _allowed(kind: int, limit: int) -> int:
    """Return the limit of this kind, or the largest that this process may set where that is lower."""
    import resource

    most, infinity = resource.getrlimit(kind)[1], resource.RLIM_INFINITY
    return most if limit == infinity else limit if most == infinity else min(limit, most)


def _taken() -> int:
    """Return the bytes that this process takes of those that `limit_memory` limits."""
    try:
        rows = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return _LIBRARIES
    return next((1024 * int(row.split()[1]) for row in rows if row.startswith("VmData:")), _LIBRARIES)


def _write(file: IO[bytes], *parts: Part) -> None:
    for part in parts:
        file.write(struct.pack("<Q", memoryview(part).nbytes))
        file.write(part)
    file.flush()


def _read(file: IO[bytes]) -> bytearray:
    """Return the next part; EOFError at the end."""
    (length,) = struct.unpack("<Q", _exactly(file, 8))
    return _exactly(file, length)


def _exactly(file: IO[bytes], length: int) -> bytearray:
    data = bytearray(length)
    if file.readinto(data) < length:  # type: ignore[attr-defined]
        raise EOFError
    return data
