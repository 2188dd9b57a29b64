"""Memory of tensors that is freed and asked for again at every step."""

from __future__ import annotations

import ctypes
import os
import sys

# Parameters of glibc's mallopt, and the largest value that it takes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the process keep up to 2 GiB of freed memory for its next tensors; return whether that could be set.

    glibc gives the memory of each larger tensor back to the system, which then clears page after page for the next one:
    an eighth to a quarter of the CPU time of a training step (benchmarks/freed_memory.py). Nothing is changed where the
    user has set `MALLOC_...` or `GLIBC_TUNABLES`, nor on systems of another C library.
    """
    if not sys.platform.startswith("linux") or any(
        name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ
    ):
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    return set_option is not None and all(set_option(name, _LARGEST) for name in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))


def return_freed_memory() -> bool:
    """Return all freed memory to the system; return whether there was any.

    A process that is started by a fork would keep a copy of it as soon as this one writes there: half a gigabyte of the
    tensors of a training step, in each process that loads.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None
    return trim is not None and bool(trim(0))
