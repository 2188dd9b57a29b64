"""Readings in a separate process: a damaged file can crash or hang a library in ways that Python cannot catch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from softpoint.images.process import limit_memory
from softpoint.labels.row_errors import RowError, RowErrors
from softpoint.labels.schema import ABSENT, OCCLUDED, UNLABELED, VISIBLE, Labels, Subject
from softpoint.labels.skeleton import Skeleton

_MAX_BYTES = 1 << 30  # of the result, which is held as text and as Python objects
_MEMORY, _MEMORY_PER_BYTE = 1 << 30, 100  # bytes that a reader may take, and further ones for each of its file

_CODE = "from softpoint.labels.formats.parsing import sandbox; sandbox.run_in_process()"


def read_labels(module: str, path: Path, errors: RowErrors, images: Path | None, seconds: float) -> Labels:
    """Return what `read_in_process` of a module, run by a new Python, reads from the file `path`.

    Raises the ValueError that it raises, and one that names the file if its process crashes, takes longer than
    `seconds`, or returns an invalid result. Errors of rows are added to `errors`.
    """
    arguments = [module, str(path), "" if images is None else str(images), str(seconds)]
    modules = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    with TemporaryDirectory(prefix="softpoint-") as folder:
        output, log = Path(folder) / "output", Path(folder) / "log"
        try:
            with log.open("wb") as file:
                process = subprocess.run(
                    # -P, because the working folder may hold files with the names of modules.
                    [sys.executable, "-P", "-c", _CODE, str(output), *arguments],
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
            errors.places |= {str(place) for place in content["places"]}
            errors.errors += [RowError(*map(str, error)) for error in content["errors"]]
            labels = _labels(content["labels"]) if "labels" in content else None
        except Exception as error:  # a process misled by a hostile file may have written anything
            raise _damaged(path, f"its reader returned an invalid result ({type(error).__name__}: {error})") from error
    if labels is None:
        raise ValueError(str(content["refusal"]))
    return labels


def run_in_process() -> None:
    """Write what the reader returns as plain values; called in the new process."""
    output, module, path, images, seconds = sys.argv[1:]
    if hasattr(signal, "alarm"):  # ends this process even inside a library, if the parent process is gone
        signal.alarm(int(float(seconds)) + 5)
    limit_memory(_MEMORY + _MEMORY_PER_BYTE * Path(path).stat().st_size)
    errors = RowErrors(path)
    content: dict[str, Any] = {}
    try:
        labels = import_module(module).read_in_process(Path(path), errors, Path(images) if images else None)
        content["labels"] = {
            "source": labels.source,
            "folder": labels.folder,
            "skeleton": asdict(labels.skeleton),
            "subjects": list(map(asdict, labels.subjects)),
            "unused": dict(labels.unused),
        }
    except ValueError as error:
        content["refusal"] = str(error)
    content |= {"places": [*errors.places], "errors": errors.errors}
    Path(output).write_text(json.dumps(content, default=np.ndarray.tolist), encoding="ascii")


def _labels(plain: dict[str, Any]) -> Labels:
    """Return the labels of plain values, types checked."""
    skeleton = Skeleton.from_dict(plain["skeleton"])
    subjects = [
        Subject(**{field.name: _FIELDS[field.name](subject[field.name]) for field in fields(Subject)})
        for subject in plain["subjects"]
    ]
    arrays = [points for s in subjects for points in (s.keypoints, s.written, s.confidence) if points is not None]
    if any(len(points) != len(skeleton) for points in arrays):
        raise ValueError("a subject has other points than its skeleton")
    unused = {str(content): int(count) for content, count in plain["unused"].items()}
    return Labels(str(plain["source"]), str(plain["folder"]), skeleton, tuple(subjects), unused=unused)


def _optional(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(value)


def _box(value: Any) -> tuple[float, float, float, float]:
    left, top, right, bottom = map(float, value)
    return left, top, right, bottom


def _size(value: Any) -> tuple[int, int]:
    height, width = map(int, value)
    return height, width


def _points(value: Any) -> np.ndarray:
    return np.array(value, np.float64).reshape(-1, 2)


def _states(value: Any) -> np.ndarray:
    states = np.array(value, np.int64)
    if not np.isin(states, (UNLABELED, OCCLUDED, VISIBLE, ABSENT)).all():
        raise ValueError("it has a visibility that is none")
    return states


# What makes each field of a subject from plain values.
_FIELDS: dict[str, Callable[[Any], Any]] = {
    "image": str,
    "place": str,
    "keypoints": _points,
    "visibility": _states,
    "box": _optional(_box),
    "category": str,
    "name": str,
    "group": _optional(str),
    "area": float,
    "crowd": bool,
    "size": _size,
    "written": _optional(_points),
    "confidence": _optional(lambda value: np.array(value, np.float64).reshape(-1)),
}


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(f"{path} is damaged or hostile: {reason}; save it again with the program that wrote it")
