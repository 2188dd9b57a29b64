"""Commands as a user types them, where the running one was typed."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig


def here(path: str | Path) -> str:
    """Return a path relative to the folder in which the running command was typed."""
    return os.path.relpath(path, HydraConfig.get().runtime.cwd)


def command(name: str) -> str:
    """Return the start of another command, in the way in which this process was started.

    >>> sys.argv, before = ["scripts/train.py"], sys.argv
    >>> command("inspect").removeprefix(sys.executable).removeprefix("python"); sys.argv = before
    ' scripts/inspect_data.py'
    """
    started = Path(sys.argv[0])
    found = shutil.which("python")
    python = "python" if found and Path(found) == Path(sys.executable) else shlex.quote(sys.executable)
    if started.name == "__main__.py":
        return f"{python} -m softpoint.cli {name}"
    if started.suffix == ".py" and (scripts := [*started.parent.glob(f"{name}*.py")]):
        return f"{python} {shlex.quote(str(scripts[0]))}"
    if started.name == "softpoint" and shutil.which("softpoint") != str(started):
        return f"{shlex.quote(str(started))} {name}"
    return f"softpoint {name}"
