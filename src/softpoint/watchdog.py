"""A watch over decoders: a library that hangs cannot be interrupted, so the command that waits for it is ended."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

# Seconds between two looks, and times of its seconds that a block may take without computing.
_LOOK, _PATIENCE = 1.0, 10

# Whether a thread can see the processor time of another one.
_HAS_CLOCKS = hasattr(time, "pthread_getcpuclockid")

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Block:
    """A block of code that runs; each call of `late_after` is a look at it."""

    message: str
    seconds: float
    reads: bool
    process: int
    clock: int | None  # of its thread; None for that of the process
    waited: float = 0.0  # counted by looks, of which a process that is suspended makes none
    before: float | None = None  # computed before the first look

    def late_after(self) -> float:
        """Return the seconds that the block has exceeded; 0 where it is not late."""
        computed = time.process_time() if self.clock is None else time.clock_gettime(self.clock)
        if self.before is None:
            self.before = computed
        else:
            self.waited += _LOOK
        if min(self.waited, computed - self.before) > self.seconds:
            return self.seconds
        blocked = _PATIENCE * self.seconds
        return blocked if self.waited > blocked and not self.reads else 0


class Watchdog:
    """Watches blocks of code, from a thread that runs while there are any.

    A block that reads files is late when its thread has computed for its seconds; where the system has no clock of a
    thread, when the process has, and as long has passed. A block that reads none is late by the process, whose threads
    a library may use, and also after 10 times its seconds in which nothing computes. So neither a slow disk nor a
    process that is suspended makes a block late. Then `late` is called with its message.
    """

    # Without a lock, of which a forked process might have a copy that is never released.

    def __init__(self) -> None:
        self._watching = 0  # the process whose thread watches
        self._blocks: set[_Block] = set()
        self.late: Callable[[str], None] = _log.warning

    @contextmanager
    def watched(self, message: str, seconds: float, reads: bool = False) -> Iterator[None]:
        """Watch the block; `message` says what happened and the way out, with `{s}` for the seconds."""
        process = os.getpid()
        clock = time.pthread_getcpuclockid(threading.get_ident()) if reads and _HAS_CLOCKS else None
        block = _Block(message, seconds, reads, process, clock)
        self._blocks.add(block)
        if self._watching != process:
            self._watching = process
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        try:
            yield
        finally:
            self._blocks.discard(block)

    def _watch(self) -> None:
        while self._blocks or not self._rests():
            time.sleep(_LOOK)
            for block in list(self._blocks):
                if block.process != os.getpid():  # of a thread that did not survive a fork
                    self._blocks.discard(block)
                elif seconds := block.late_after():
                    self._blocks.discard(block)
                    self.late(block.message.replace("{s}", f"{seconds:g}"))

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
