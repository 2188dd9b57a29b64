"""A watch over decoders: a library that hangs cannot be interrupted, so the command that waits for it is ended."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Seconds between two looks.
_LOOK = 1.0

_log = logging.getLogger(__name__)


class Watchdog:
    """Watches blocks of code, from a thread that runs while there are any.

    A block is late that takes longer than its seconds while the process also computes as long: neither a slow disk nor
    a process that is suspended makes it late. Then `late` is called with its message.
    """

    # Without a lock, of which a forked process might have a copy that is never released.

    def __init__(self) -> None:
        self._watching = 0  # the process whose thread watches
        self._blocks: dict[object, tuple[int, str, float, float, float]] = {}
        self.late: Callable[[str], None] = _log.warning

    @contextmanager
    def watched(self, message: str, seconds: float) -> Iterator[None]:
        """Watch the block; `message` says what happened and the way out, with `{s}` for the seconds."""
        key, process = object(), os.getpid()
        self._blocks[key] = (process, message, seconds, time.monotonic(), time.process_time())
        if self._watching != process:
            self._watching = process
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        try:
            yield
        finally:
            self._blocks.pop(key, None)

    def _watch(self) -> None:
        while self._blocks or not self._rests():
            time.sleep(_LOOK)
            now, computed = time.monotonic(), time.process_time()
            for key, (process, message, seconds, start, before) in list(self._blocks.items()):
                is_late = min(now - start, computed - before) > seconds
                if is_late or process != os.getpid():  # of a thread that did not survive a fork
                    self._blocks.pop(key, None)
                if is_late and process == os.getpid():
                    self.late(message.replace("{s}", f"{seconds:g}"))

    def _rests(self) -> bool:
        """Let the next block start a thread; return whether there is none yet."""
        self._watching = 0
        return not self._blocks


def end_command(message: str) -> None:
    """Print an error and end this process at once, whatever its threads do."""
    sys.stderr.write(f"error: {message}\n")
    sys.stderr.flush()
    os._exit(1)


watchdog = Watchdog()
