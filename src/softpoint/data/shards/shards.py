"""The samples of a split, read one by one out of its chunks."""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from softpoint.data.shards.description import AGAIN, Description, read_json, read_short
from softpoint.data.shards.files import Files
from softpoint.data.shards.sample import FIELDS, Sample, parse

INDEX = "index.json"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.bin")
_OFFSETS = struct.Struct("<2I")


class Chunk(NamedTuple):
    """One file: the number of its samples, the offset of each and of their end (uint32), and the samples."""

    name: str
    samples: int
    size: int  # in bytes

    @property
    def begin(self) -> int:
        """Where its first sample stands."""
        return 4 * (self.samples + 2)


class Shards:
    """The samples of one split; each is read from a file opened anew, so that processes share nothing.

    Raises ValueError for a split that is damaged or not one of ours, FileNotFoundError for a missing file.
    """

    def __init__(self, files: Files, split: str, description: Description) -> None:
        self.files, self.split, self.points = files, split, len(description.skeleton)
        place = f"{files.place}/{split}/{INDEX}"
        self.chunks = read_index(read_short(files.path(f"{split}/{INDEX}"), place), place)
        self.lengths = np.array([chunk.samples for chunk in self.chunks])
        self.ends = np.cumsum(self.lengths).tolist()
        self._here: list[Path] = []  # the chunks that need not be fetched
        if len(self) != (told := description.samples[split]):
            raise ValueError(f"{place} lists {len(self)} samples, but softpoint.json {told}; {AGAIN}")
        if files.here:
            self._here = [self.fetch(chunk) for chunk in range(len(self.chunks))]

    def __len__(self) -> int:
        return self.ends[-1]

    def locate(self, index: int) -> tuple[int, int]:
        """In which chunk a sample stands, and at which place there."""
        assert 0 <= index < len(self), index
        chunk = bisect_right(self.ends, index)
        return chunk, index - self.ends[chunk] + self.chunks[chunk].samples

    def fetch(self, chunk: int) -> Path:
        """The file of a chunk, brought here where it is not."""
        return self.files.path(f"{self.split}/{self.chunks[chunk].name}", self.chunks[chunk].size)

    def read(self, index: int) -> Sample:
        """The sample at `index`, its image still encoded."""
        chunk, within = self.locate(index)
        path = self._here[chunk] if self._here else self.fetch(chunk)
        with self.blamed(index):
            try:
                data = _item(path, within, self.chunks[chunk])
            except FileNotFoundError:  # another process made room for what it needs
                data = _item(self.fetch(chunk), within, self.chunks[chunk])
            return parse(data, self.points)

    @contextmanager
    def blamed(self, index: int) -> Iterator[None]:
        """Within it a ValueError is about the sample at `index`, and comes out saying where that stands."""
        try:
            yield
        except ValueError as error:
            chunk, within = self.locate(index)
            place = f"{self.files.place}/{self.split}/{self.chunks[chunk].name}"
            raise ValueError(f"sample {within} of {place} cannot be used: {error}; {AGAIN}") from error


def read_index(text: bytes, place: str) -> tuple[Chunk, ...]:
    """The chunks that an index.json lists; ValueError for fields that this project does not pack.

    >>> read_index(b'{"chunks": [], "config": {"data_format": ["int", "pickle"]}}', "index.json")
    Traceback (most recent call last):
    ValueError: index.json stores fields as 'int', 'pickle': reading 'pickle' could run code of whoever made it, ...
    """
    stored = read_json(text, place)
    try:
        config = stored["config"]
        formats = [str(name) for name in config["data_format"]]
        chunks = tuple(_chunk(entry) for entry in stored["chunks"]) if formats == [*FIELDS.values()] else ()
        changed = {key: config.get(key) for key in ("compression", "encryption", "ipc_compression") if config.get(key)}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{place} is damaged ({type(error).__name__}: {error}); {AGAIN}") from error
    if formats != [*FIELDS.values()]:
        raise ValueError(f"{place} stores fields as {', '.join(map(repr, formats))}: {_refusal(formats)}")
    if changed or not chunks:
        raise ValueError(f"{place} lists {len(chunks)} chunks, with {changed}; pack the set by scripts/pack_data.py")
    return chunks


def _refusal(formats: list[str]) -> str:
    if unsafe := [name for name in formats if "pickle" in name]:
        return f"reading {unsafe[0]!r} could run code of whoever made it, so the set is refused"
    return "that is not what this project packs; pack the set by scripts/pack_data.py"


def _chunk(entry: dict[str, Any]) -> Chunk:
    chunk = Chunk(entry["filename"], entry["chunk_size"], entry["chunk_bytes"])
    whole = type(chunk.samples) is int and type(chunk.size) is int and chunk.samples > 0
    # Offsets have 32 bits.
    if not (whole and _NAME.fullmatch(chunk.name) and chunk.begin <= chunk.size < 1 << 32):
        raise ValueError(f"chunk {chunk.name!r} of {chunk.samples} samples in {chunk.size} bytes")
    return chunk


def _item(path: Path, within: int, chunk: Chunk) -> bytes:
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(4 * (within + 1))
            offsets = file.read(_OFFSETS.size)
            if len(offsets) < _OFFSETS.size:
                raise ValueError("its file is cut short")
            begin, end = _OFFSETS.unpack(offsets)
            if not chunk.begin <= begin <= end <= chunk.size:
                raise ValueError(f"it spans bytes {begin} to {end} of {chunk.size}")
            file.seek(begin)
            return file.read(end - begin)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(error.strerror) from error
