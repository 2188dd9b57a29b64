"""The clock and the CPU time at the end of each optimizer step of a trainer that uses torch, written to a file."""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")


def start(package: str) -> dict[str, Any]:
    """Return the settings of the command line, and write each step from now on into `steps.txt` of their folder.

    The first line has the versions of the package and of torch, and each other line the system's monotonic clock and
    the CPU time of this process and of those below it, in seconds.
    """
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    settings: dict[str, Any] = json.loads(sys.argv[1])
    file = Path(settings["run"], "steps.txt").open("w", encoding="utf-8", buffering=1)  # noqa: SIM115  # kept open
    print(version(package), torch.__version__, file=file)

    def note(*_: Any) -> None:
        print(time.monotonic(), cpu_seconds(), file=file)

    register_optimizer_step_post_hook(note)
    return settings


def cpu_seconds() -> float:
    """Return the CPU time of this process, of the processes below it, and of those that ended."""
    own = os.times()
    return sum(own[:4]) + sum(_live(child) for child in _children("self"))


def _live(pid: str) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        below = _children(pid)
    except OSError:  # it has just ended, and is counted by its parent
        return 0.0
    return sum(int(ticks) for ticks in fields[11:15]) / TICKS + sum(_live(child) for child in below)


def _children(pid: str) -> list[str]:
    paths = Path(f"/proc/{pid}/task").glob("*/children")
    return [child for path in paths for child in path.read_text(encoding="utf-8").split()]
