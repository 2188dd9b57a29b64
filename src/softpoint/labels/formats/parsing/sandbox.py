"""Readings in a separate process: a damaged file can crash or hang a library in ways that Python cannot catch."""

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

import numpy as np

_MAX_BYTES = 1 << 30  # of the result, which is held as text and as Python objects

T = TypeVar("T")


def run_sandboxed(code: str, path: Path, seconds: float, build: Callable[[Any], T]) -> T:
    """Return what `build` makes of the plain values that `code`, run by a new Python, reads from the file `path`.

    The code passes its result on by `return_result`. Raises the ValueError that it raises, and one that names the file
    if its process crashes, takes longer than `seconds`, or returns an invalid result.
    """
    modules = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    with TemporaryDirectory(prefix="softpoint-") as folder:
        output, log = Path(folder) / "output", Path(folder) / "log"
        try:
            with log.open("wb") as file:
                process = subprocess.run(
                    # -P, because the working folder may hold files with the names of modules.
                    [sys.executable, "-P", "-c", code, str(path), str(output), str(seconds)],
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=os.environ | {"PYTHONPATH": modules},
                    timeout=seconds,
                    check=False,
                )
        except subprocess.TimeoutExpired:
            raise _damaged(path, f"it was not read within {seconds:.3g} s") from None
        if status := process.returncode:
            crashed = -status in set(signal.Signals)
            ending = f"crashed ({signal.Signals(-status).name})" if crashed else f"failed ({status})"
            lines = log.read_bytes()[-300:].decode("utf-8", "replace").strip().splitlines()
            raise _damaged(path, f"its reader {ending}" + (f" with {lines[-1]!r}" if lines else ""))
        try:
            if output.stat().st_size > _MAX_BYTES:
                raise ValueError(f"{output.stat().st_size} bytes")
            content = json.loads(output.read_bytes())
            refusal = content.get("error")
            result = None if refusal else build(content["result"])
        except Exception as error:  # a process misled by a hostile file may have written anything
            raise _damaged(path, f"its reader returned an invalid result ({type(error).__name__}: {error})") from error
    if result is None:
        raise ValueError(str(refusal))
    return result


def return_result(function: Callable[[Path], Any]) -> None:
    """Write what `function` returns for the file, arrays and named tuples included; called in the new process."""
    path, output, seconds = sys.argv[1:]
    if hasattr(signal, "alarm"):  # ends this process even inside a library, if the parent process is gone
        signal.alarm(int(float(seconds)) + 5)
    try:
        content = {"result": function(Path(path))}
    except ValueError as error:
        content = {"error": str(error)}
    Path(output).write_text(json.dumps(content, default=np.ndarray.tolist), encoding="ascii")


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(f"{path} is damaged or hostile: {reason}; save it again with the program that wrote it")
