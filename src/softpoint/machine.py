"""What a measurement or a training ran on, as far as the system tells."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

from softpoint import __version__


def cores() -> int:
    """How many CPU cores this process may use.

    >>> cores() > 0
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """What the processor calls itself."""
    listed = Path("/proc/cpuinfo")
    text = listed.read_text(encoding="utf-8", errors="replace") if listed.is_file() else ""
    named = re.search(r"model name\s*: (.+)", text)
    return named[1].strip() if named else platform.processor() or platform.machine()


def library_versions() -> dict[str, str]:
    """Return the versions of softpoint, from its source, and of torch and torchvision."""
    return {"softpoint": __version__, **{name: version(name) for name in ("torch", "torchvision")}}
