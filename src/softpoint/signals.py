"""Signals that end a command, by an exception, so that it keeps what it has and says so."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

# Signals that end a command, and their names in messages.
SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
# Every signal by which this process left a block, in order.
_left_by: list[int] = []


def handle(handler: Callable[[int, Any], None], numbers: Iterable[int] = SIGNALS) -> dict[int, Any]:
    """Set the handler of signals and return those from before; a thread beside the main one cannot."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, handler) for number in numbers}


def leave_by(number: int) -> NoReturn:
    """End the command at once by SystemExit of 128 plus a signal's number."""
    _left_by.append(number)
    sys.exit(128 + number)


@contextmanager
def exit_on(numbers: Iterable[int] = SIGNALS, leave: Callable[[int], Any] = leave_by) -> Iterator[None]:
    """Let signals end the block by `leave`, which calls `leave_by`.

    What raises another exception on the way out, such as a hook that cleans up, or catches this one, changes nothing.
    """
    own = os.getpid()

    def stop(number: int, frame: Any) -> None:
        if os.getpid() == own:  # not a process that it forked
            os.write(2, b"\nstopping\n")  # not by print, which cannot be entered again where the signal came within it
        leave(number)

    before, earlier = handle(stop, numbers), len(_left_by)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if len(_left_by) > earlier:
            sys.exit(128 + _left_by[earlier])
