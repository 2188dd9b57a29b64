"""Readings in a process of their own: a damaged file can crash or hang a library in ways that Python cannot catch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

# An answer is held as text and as Python objects; longer ones are not those of labels.
_BYTES = 1 << 30

T = TypeVar("T")


def ask(code: str, path: Path, seconds: float, build: Callable[[Any], T]) -> T:
    """What `build` makes of the plain values that `code`, run by a new Python, answers about the file `path`.

    The code answers by calling `answer`. Raises the ValueError that it raises, and one that names the file where its
    process crashes, takes longer than `seconds`, or answers what cannot be built from.
    """
    with TemporaryDirectory(prefix="softpoint-") as folder:
        answered, said = Path(folder) / "answered", Path(folder) / "said"
        # -P, because the working folder may hold files that are called like modules.
        command = [sys.executable, "-P", "-c", code, str(path), str(answered), str(seconds)]
        _run(command, path, seconds, said)
        try:
            if answered.stat().st_size > _BYTES:
                raise ValueError(f"{answered.stat().st_size} bytes")
            found = json.loads(answered.read_bytes())
            refused = found.get("refused")
            made = None if refused else build(found["made"])
        except Exception as error:  # a process that a hostile file leads astray may have written anything
            raise _damaged(path, f"reading it gave nonsense ({type(error).__name__}: {error})") from error
    if made is None:
        raise ValueError(str(refused))
    return made


def answer(function: Callable[[Path], Any]) -> None:
    """Answers what `function` makes of the file, of arrays and dataclasses too; called in the new process."""
    path, answered, seconds = sys.argv[1:]
    if hasattr(signal, "alarm"):  # ends this process even inside a library, should the one that waits for it be gone
        signal.alarm(int(float(seconds)) + 5)
    try:
        found = {"made": function(Path(path))}
    except ValueError as error:
        found = {"refused": str(error)}
    Path(answered).write_text(json.dumps(found, default=_plain), encoding="ascii")


def _run(command: list[str], path: Path, seconds: float, said: Path) -> None:
    places = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    try:
        with said.open("wb") as output:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONPATH": places},
                timeout=seconds,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise _damaged(path, f"it was not read within {seconds:.3g} s") from None
    if done.returncode:
        raise _damaged(path, f"reading it {_ending(done.returncode)}{_last_line(said)}")


def _plain(thing: Any) -> Any:
    return thing.tolist() if hasattr(thing, "tolist") else vars(thing)


def _damaged(path: Path, why: str) -> ValueError:
    return ValueError(f"{path} is damaged or hostile: {why}; save it again with the program that wrote it")


def _ending(status: int) -> str:
    """How a process ended.

    >>> _ending(-6), _ending(3)
    ('crashed (SIGABRT)', 'failed (3)')
    """
    if -status in set(signal.Signals):
        return f"crashed ({signal.Signals(-status).name})"
    return f"failed ({status})"


def _last_line(said: Path) -> str:
    with said.open("rb") as file:
        file.seek(max(0, said.stat().st_size - 300))
        lines = file.read().decode("utf-8", "replace").strip().splitlines()
    return f", saying {lines[-1]!r}" if lines else ""
