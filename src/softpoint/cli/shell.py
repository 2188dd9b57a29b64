"""Commands as a user types them, where the running one was typed."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from softpoint.suggest import quoted_name, setting


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
        return f"{python} -m softpoint {name}"
    if started.suffix == ".py" and (scripts := [*started.parent.glob(f"{name}*.py")]):
        return f"{python} {shlex.quote(str(scripts[0]))}"
    if started.name == "softpoint" and shutil.which("softpoint") != str(started):
        return f"{shlex.quote(str(started))} {name}"
    return f"softpoint {name}"


def inspect_command(words: Iterable[str]) -> str:
    """Return the command that inspects the data of a training with these overrides.

    >>> sys.argv, before = ["softpoint"], sys.argv
    >>> inspect_command(["data.labels=a b.csv", "model=dsa", "data.size=64", "data=custom"]).partition("inspect")[2]
    " 'data.labels=a b.csv' data=custom"
    >>> sys.argv = before
    """
    from dataclasses import fields

    from softpoint.labels.source import LabelSource
    from softpoint.labels.split import Split

    keys = {"data", *(f"data.{field.name}" for kind in (LabelSource, Split) for field in fields(kind))}
    own = [word for word in words if word.lstrip("+~").partition("=")[0] in keys] or ["data.labels=..."]
    return " ".join([command("inspect"), *map(shlex.quote, own)])


def data_settings(data: Mapping[str, Any]) -> list[str]:
    """Return the settings of a training by which labels and images are read, all but the defaults.

    >>> print(*data_settings({"mode": "instance", "flip_pairs": [["l", "r"]], "missing": "auto", "size": 64}))
    data.mode=instance 'data.flip_pairs=[[l,r]]'
    """
    from dataclasses import fields

    from softpoint.labels.source import LabelSource
    from softpoint.labels.split import Split

    kept = {field.name: field.default for field in fields(LabelSource)} | {"group": Split.group}
    for own in ("labels", "images", "fetch", "verify", "cache_dir"):
        del kept[own]
    changed = {key: data[key] for key, default in kept.items() if key in data and data[key] != default}
    return [_data_setting(key, value) for key, value in changed.items()]


def _data_setting(key: str, value: Any) -> str:
    def word(part: Any) -> str:
        if isinstance(part, list | tuple):
            return f"[{','.join(map(word, part))}]"
        return quoted_name(part) if isinstance(part, str) else "null" if part is None else str(part)

    return setting(f"data.{key}", value) if isinstance(value, str) else shlex.quote(f"data.{key}={word(value)}")
