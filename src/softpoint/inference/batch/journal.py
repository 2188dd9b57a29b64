"""What a job has predicted so far, on disk, so that an interrupted one goes on where it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from softpoint.inference.batch.stream import Answer, Shot

_FORMAT = "softpoint answers 1"

# How many rows are read at once, and how long the first line may be.
_ROWS, _HEADER = 256, 1 << 20


def row_type(num_keypoints: int, visibility: bool) -> np.dtype:
    """One row: a subject in an image, or an image without any, whose `subjects` is 0.

    >>> row_type(2, False)["keypoints"].shape
    (2, 2)
    """
    K = num_keypoints
    fields: list[Any] = [
        ("index", "<i8"),
        ("subject", "<i4"),
        ("subjects", "<i4"),
        ("time", "<f8"),
        ("size", "<i4", (2,)),
        ("broken", "S240"),
        ("box", "<f8", (4,)),
        ("keypoints", "<f4", (K, 2)),
        ("confidence", "<f4", (K,)),
        ("covariance", "<f4", (K, 2, 2)),
    ]
    return np.dtype([*fields, *([("visibility", "<f4", (K, 3))] if visibility else [])])


class Journal:
    """A file of rows that only grows: one line that says which job it belongs to, then rows of fixed length.

    Args:
        path: of the file; its folder is made.
        job: plain values that decide what is predicted.
        resume: keep the rows that are there; else they are discarded.

    Raises ValueError, with `resume`, for a file that is none or that belongs to another job.
    """

    def __init__(self, path: Path, job: Mapping[str, Any], dtype: np.dtype, resume: bool) -> None:
        self.path, self.dtype = path, dtype
        path.parent.mkdir(parents=True, exist_ok=True)
        header = json.dumps({"format": _FORMAT, "job": job}).encode() + b"\n"
        if resume and path.exists() and path.stat().st_size:
            self._start = _check(path, job)
            self.file: BinaryIO = path.open("r+b")
            self._keep_whole()
        else:
            self._start, self.next = len(header), 0
            self.file = path.open("w+b")
            self.file.write(header)
            self.file.flush()

    def append(self, shot: Shot, answers: Sequence[Answer]) -> None:
        """The rows of one image, which must be the next one."""
        assert shot.number == self.next, (shot.number, self.next)
        rows = np.zeros(max(1, len(answers)), self.dtype)
        for name in rows.dtype.names or ():
            if rows[name].dtype.kind == "f":
                rows[name] = np.nan
        rows["index"], rows["subject"], rows["subjects"] = shot.number, np.arange(len(rows)), len(answers)
        rows["time"], rows["size"], rows["broken"] = shot.time, shot.size, shot.broken.encode()[:240]
        for i, answer in enumerate(answers):
            for name, value in answer.items():
                rows[name][i] = value
            if shot.boxes is not None:
                rows["box"][i] = shot.boxes[i]
        self.file.write(rows.tobytes())
        self.file.flush()  # for the system to keep, should this process be killed
        self.next += 1

    def rows(self) -> Iterator[np.ndarray]:
        """All rows in order, in pieces of (N,) records."""
        with self.path.open("rb") as file:
            file.seek(self._start)
            while content := file.read(_ROWS * self.dtype.itemsize):
                yield np.frombuffer(content[: len(content) // self.dtype.itemsize * self.dtype.itemsize], self.dtype)

    def close(self, discard: bool = False) -> None:
        """Closes the file, and removes it to `discard` it or where it holds no row."""
        self.file.close()
        if discard or not self.next:
            self.path.unlink(missing_ok=True)

    def _keep_whole(self) -> None:
        """Cuts off a row, or an image with several, of which only a part was written."""
        size = self.dtype.itemsize
        count = (os.path.getsize(self.path) - self._start) // size  # noqa: PTH202
        self.next = 0
        while count:
            self.file.seek(self._start + (count - 1) * size)
            last = np.frombuffer(self.file.read(size), self.dtype)[0]
            if last["subject"] + 1 == max(1, last["subjects"]):
                self.next = int(last["index"]) + 1
                break
            count -= 1
        self.file.seek(self._start + count * size)
        self.file.truncate()


def _check(path: Path, job: Mapping[str, Any]) -> int:
    """Where the rows begin; ValueError for what differs from `job`."""
    with path.open("rb") as file:
        line = file.readline(_HEADER)
    try:
        stored = json.loads(line)
        assert stored["format"] == _FORMAT and isinstance(stored["job"], dict)
    except (ValueError, KeyError, TypeError, AssertionError, RecursionError):
        raise ValueError(f"resume=true: {path} is not what an interrupted job left; remove it") from None
    check_same(stored["job"], job, path)
    return len(line)


def check_same(stored: Mapping[str, Any], job: Mapping[str, Any], path: Path) -> None:
    """ValueError that names the first setting in which an earlier job differs.

    >>> check_same({"tta": None}, {"tta": "flip"}, Path("out/predictions.partial"))
    Traceback (most recent call last):
    ValueError: resume=true: out/predictions.partial was begun with tta=None, not tta='flip'; set it back, name another
    output, or start anew without resume
    """
    for key in dict.fromkeys([*job, *stored]):
        if stored.get(key) != job.get(key):
            raise ValueError(
                f"resume=true: {path} was begun with {key}={stored.get(key)!r}, not {key}={job.get(key)!r}; set it"
                " back, name another output, or start anew without resume"
            )
