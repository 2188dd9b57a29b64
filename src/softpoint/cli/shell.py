"""Commands and settings as a user types them, in the quotes of Hydra and of a shell."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from softpoint.suggest import quoted


def setting(key: str, value: object) -> str:
    """Return KEY=VALUE of a text for a shell, quoted where Hydra or the shell would read the value as anything else.

    >>> print(setting("ckpt", "runs/a/best.ckpt"), setting("ckpt", "a=1/best.ckpt"), setting("output", 7))
    ckpt=runs/a/best.ckpt 'ckpt='"'"'a=1/best.ckpt'"'"'' 'output='"'"'7'"'"''
    """
    try:
        plain = OverridesParser.create().parse_override(f"{key}={value}").value() == str(value)
    except HydraException:
        plain = False
    return shlex.quote(f"{key}={value if plain else quoted(value)}")


def trust_setting(packages: Iterable[str]) -> str:
    """Return what follows a command that reads a network with modules of these packages, if any is the user's own.

    >>> trust_setting(["softpoint.models", "mine"]), trust_setting(["softpoint.models"])
    (" 'trust=[mine]'", '')
    """
    own = sorted({package for package in packages if not f"{package}.".startswith("softpoint.")})
    return " " + shlex.quote(f"trust=[{','.join(own)}]") if own else ""


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
