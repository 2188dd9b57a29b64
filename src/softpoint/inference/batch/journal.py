"""A file of the predictions of a job so far, so that an interrupted one continues where it stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from softpoint.inference.batch.predictions import Row
from softpoint.inference.batch.stream import Item, PredictedArrays
from softpoint.layers.calibration import ConfidenceParts

_FORMAT = "softpoint predictions 3"
_ROWS_READ_AT_ONCE, _MAX_HEADER = 256, 1 << 20


def row_dtype(
    num_keypoints: int, visibility: bool, explained: bool = False, map_size: tuple[int, int] | None = None
) -> np.dtype:
    """Return the record of one subject in an image, or of an image without any, whose `subjects` is 0.

    With a `map_size` it has heatmap sets, as bits.

    >>> row_dtype(2, False)["keypoints"].shape
    (2, 2)
    """
    K = num_keypoints
    fields: list[Any] = [
        ("index", "<i8"),
        ("subject", "<i4"),
        ("subjects", "<i4"),
        ("time", "<f8"),
        ("size", "<i4", (2,)),
        ("error", "S240"),
        ("box", "<f8", (4,)),
        ("score", "<f8"),
        ("keypoints", "<f4", (K, 2)),
        ("confidence", "<f4", (K,)),
        ("covariance", "<f4", (K, 2, 2)),
    ]
    fields += [("visibility", "<f4", (K, 3))] * visibility
    if map_size is not None:
        fields.append(("sets", "u1", (K, map_size[0], -(-map_size[1] // 8))))
    return np.dtype(fields + [(name, "<f4", (K,)) for name in ConfidenceParts._fields] * explained)


class Journal:
    """A file that only grows: one line with the job that it belongs to, then records of fixed length.

    Raises ValueError, with `resume`, for another kind of file and for one of another job.

    Args:
        path: of the file; its folder is made.
        job: plain values that decide what is predicted.
        dtype: of a record, see `row_dtype`.
        resume: keep the records of an earlier call; else they are discarded.
    """

    def __init__(self, path: Path, job: Mapping[str, Any], dtype: np.dtype, resume: bool) -> None:
        self.path, self.dtype, self.next = path, dtype, 0
        path.parent.mkdir(parents=True, exist_ok=True)
        if resume and path.exists() and path.stat().st_size:
            self._start = _check_header(path, job)
            self.file: BinaryIO = path.open("r+b")
            self._truncate()
        else:
            header = json.dumps({"format": _FORMAT, "job": job}).encode() + b"\n"
            self._start = len(header)
            self.file = path.open("w+b")
            self.file.write(header)
            self.file.flush()

    def append(self, item: Item, predictions: Sequence[PredictedArrays]) -> None:
        """Write the records of one image, which must be the next one."""
        assert item.number == self.next, (item.number, self.next)
        records = np.zeros(max(1, len(predictions)), self.dtype)
        for name in records.dtype.names or ():
            if records[name].dtype.kind == "f":
                records[name] = np.nan
        records["index"], records["subjects"] = item.number, len(predictions)
        records["subject"] = np.arange(len(records))
        records["time"], records["size"], records["error"] = item.time, item.size, item.error.encode()[:240]
        for i, prediction in enumerate(predictions):
            for name, value in prediction.items():
                records[name][i] = np.packbits(value, axis=-1) if value.dtype == bool else value
            if item.boxes is not None:
                records["box"][i] = item.boxes[i]
            if item.scores is not None:
                records["score"][i] = item.scores[i]
        self.file.write(records.tobytes())
        self.file.flush()  # the system keeps it if this process is killed
        self.next += 1

    def rows(self) -> Iterator[Row]:
        """Yield the predictions for all subjects, in order."""
        size = self.dtype.itemsize
        with self.path.open("rb") as file:
            file.seek(self._start)
            while content := file.read(_ROWS_READ_AT_ONCE * size):
                for record in np.frombuffer(content[: len(content) // size * size], self.dtype):
                    yield _row(record)

    def close(self, discard: bool = False) -> None:
        """Close the file, and remove it to `discard` it or if it has no record."""
        self.file.close()
        if discard or not self.next:
            self.path.unlink(missing_ok=True)

    def _truncate(self) -> None:
        """Cut off a record, or an image of several, that was not written completely."""
        size = self.dtype.itemsize
        count = (self.path.stat().st_size - self._start) // size
        while count:
            self.file.seek(self._start + (count - 1) * size)
            last = np.frombuffer(self.file.read(size), self.dtype)[0]
            if last["subject"] + 1 == max(1, last["subjects"]):
                self.next = int(last["index"]) + 1
                break
            count -= 1
        self.file.seek(self._start + count * size)
        self.file.truncate()


def _row(record: Any) -> Row:
    return Row(
        number=int(record["index"]),
        subject=int(record["subject"]),
        has_subject=bool(record["subjects"]),
        time=float(record["time"]),
        size=(int(record["size"][0]), int(record["size"][1])),
        error=record["error"].decode("utf-8", "replace"),
        box=record["box"],
        score=float(record["score"]),
        keypoints=record["keypoints"].astype(np.float64),
        confidence=record["confidence"].astype(np.float64),
        covariance=record["covariance"],
        visibility=record["visibility"] if "visibility" in record.dtype.names else None,
        parts={name: record[name] for name in ConfidenceParts._fields} if "in_image" in record.dtype.names else None,
        # Bits that fill up the last byte of a row of cells are False.
        sets=np.unpackbits(record["sets"], axis=-1).astype(bool) if "sets" in record.dtype.names else None,
    )


def _check_header(path: Path, job: Mapping[str, Any]) -> int:
    """Return where the records begin; ValueError for another kind of file or another job."""
    with path.open("rb") as file:
        line = file.readline(_MAX_HEADER)
    try:
        stored = json.loads(line)
        assert stored["format"] == _FORMAT and isinstance(stored["job"], dict)
    except (ValueError, KeyError, TypeError, AssertionError, RecursionError):
        raise ValueError(f"resume=true: {path} is no file of an interrupted job of this version; remove it") from None
    check_same_job(stored["job"], job, path)
    return len(line)


def check_same_job(stored: Mapping[str, Any], job: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError that names the first option in which an earlier job differs.

    >>> check_same_job({"tta": None}, {"tta": "flip"}, Path("out/predictions.partial"))
    Traceback (most recent call last):
    ValueError: resume=true: out/predictions.partial was started with tta=None, not tta='flip'; use the same, name
    another output, or start again without resume
    """
    for key in dict.fromkeys([*job, *stored]):
        if stored.get(key) != job.get(key):
            raise ValueError(
                f"resume=true: {path} was started with {key}={stored.get(key)!r}, not {key}={job.get(key)!r}; use the"
                " same, name another output, or start again without resume"
            )
