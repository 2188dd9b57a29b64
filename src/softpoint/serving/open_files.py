"""The limit of open files, towards which the connections of a server count."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

_OTHERS = 64  # files that a server opens later: of the processes that decode, of a model
_ARRIVING = 256  # connections that arrive while those in whose place they come end


def connections_within(most: int) -> int:
    """Return how many connections a server may hold, at most `most`, where the limit of open files is raised for them.

    >>> connections_within(1)
    1
    """
    if sys.platform == "win32":  # which has no such limit
        return most
    from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit, setrlimit

    soft, hard = getrlimit(RLIMIT_NOFILE)
    taken = len(list(Path("/dev/fd").iterdir())) + _OTHERS
    needed = taken + most + min(most, _ARRIVING)
    if soft == RLIM_INFINITY or soft >= needed:
        return most
    with suppress(ValueError, OSError):  # macOS has a lower limit besides
        setrlimit(RLIMIT_NOFILE, (needed if hard == RLIM_INFINITY else min(needed, hard), hard))
    room = getrlimit(RLIMIT_NOFILE)[0] - taken
    return max(1, min(most, max(room - _ARRIVING, room // 2)))
