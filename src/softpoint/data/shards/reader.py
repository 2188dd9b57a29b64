"""Random access to the samples of a packed split, by litdata's StreamingDataset."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
import time
from bisect import bisect
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from io import BufferedWriter, FileIO
from itertools import accumulate
from pathlib import Path
from typing import Any

from softpoint.data.shards.packed_format import DESCRIPTION, REPAIR, Description, PackedSample, parse, read_json, unseal
from softpoint.paths import user_cache_dir, write_text

INDEX = "index.json"

REMOTES = ("s3://", "gs://")  # of which litdata reads byte ranges; it would copy whole shards of others

_FIELDS = ("image", "label")
PATIENCE = 60  # seconds of failures of an object store after which a sample is given up
TIMEOUT = 10  # seconds without a byte that are one failure
_CONNECTIONS = 16  # per loading process
_TABLES = 1 << 12  # of offsets, one per shard, that a loading process keeps: some kilobytes each
_MAX_BYTES = 1 << 28  # of a description or an index: a mebibyte of index describes half a tebibyte of images
_SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.bin")


def streaming_library() -> Any:
    """Return litdata.streaming; ImportError with the command that installs it."""
    os.environ.setdefault("LITDATA_DISABLE_VERSION_CHECK", "1")  # it would ask the package index at every start
    try:
        import litdata.streaming
    except ImportError as error:
        raise ImportError(f'packed sets need litdata: pip install "softpoint[streaming]" ({error})') from error
    for name in ("litdata", "botocore"):  # which tells where it found its settings
        logging.getLogger(name).setLevel(logging.WARNING)
    return litdata.streaming


def open_set(folder: str, cache_dir: str | Path | None) -> tuple[Description, dict[str, Shards]]:
    """Return the description and the splits of the packed set in a folder or at an address.

    The indices of a set at an address are copied below `cache_dir`; its shards stay where they are.
    Raises FileNotFoundError where there is no set, ValueError for a damaged one.
    """
    folder = str(folder).rstrip("/")
    path = f"{folder}/{DESCRIPTION}"
    if not re.match(r"[a-z0-9]{2,}:", folder):
        description = Description.loads(_read(Path(path), path), path)
        return description, {split: Shards(folder, split, description) for split in description.samples}
    if not folder.startswith(REMOTES):
        raise ValueError(f"data.folder={folder} is not supported; use a folder, or {' '.join(REMOTES)}")
    description = Description.loads(_download(folder, DESCRIPTION), path)
    digest = hashlib.sha256(f"{folder} {description.contents}".encode()).hexdigest()[:32]
    copies = user_cache_dir(cache_dir) / "streaming" / digest
    return description, {split: Shards(folder, split, description, copies) for split in description.samples}


class Shards:
    """The samples of one split; each process opens the shards for itself.

    Raises ValueError for an index that is damaged or of another kind, FileNotFoundError for a missing file.

    Args:
        folder: the packed set's folder or address.
        copies: the folder for copies of the indices of a set at an address; None for a local set.
    """

    def __init__(self, folder: str, split: str, description: Description, copies: Path | None = None) -> None:
        self.path, self.num_keypoints = f"{folder}/{split}", len(description.skeleton)
        self.checksums = description.checksums
        self.local, self.remote = Path(folder if copies is None else copies) / split, copies is not None
        index = self.local / INDEX
        if self.remote and not index.exists():
            content = _download(self.path, INDEX)
            try:
                write_text(index, content.decode(errors="replace"))
            except OSError as error:
                raise ValueError(f"data.cache_dir={copies} cannot be written to: {error}") from error
        shards = check_index(_read(index, f"{self.path}/{INDEX}"), f"{self.path}/{INDEX}")
        self.names, self.counts = [name for name, _, _ in shards], [count for _, count, _ in shards]
        self.ends = list(accumulate(self.counts))
        self.length = sum(count for _, count, _ in shards)
        if self.length != description.samples[split]:
            expected = description.samples[split]
            raise ValueError(f"{self.path}/{INDEX} lists {self.length} samples, not {expected}; {REPAIR}")
        for name, samples, size in [] if self.remote else shards:
            if not (shard := self.local / name).is_file():
                raise FileNotFoundError(f"{shard} is missing; {REPAIR}")
            with shard.open("rb") as file:  # litdata would decompress a shard that begins otherwise
                count = int.from_bytes(file.read(4), "little")
            if (shard.stat().st_size, count) != (size, samples):
                length = shard.stat().st_size
                raise ValueError(f"{shard} has {count} samples in {length} bytes, not {samples} in {size}; {REPAIR}")
        self._opened: tuple[int, Any] = (0, None)  # the process that opened the set, and litdata's data set

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": (0, None)}

    def __len__(self) -> int:
        return self.length

    def read(self, index: int) -> PackedSample:
        """Return the sample at `index`, its image still encoded; ValueError for one that cannot be read."""
        if self._opened[0] != os.getpid():  # connections do not survive a fork
            self._opened = (os.getpid(), self._open())
        start = time.monotonic()
        while True:
            try:
                item = self._opened[1][index]
                image, label = bytes(item["image"]), bytes(item["label"])
                return parse(image, unseal(image, label) if self.checksums else label, self.num_keypoints)
            except Exception as error:  # each object store has its own
                if not self._is_of_transfer(error) or time.monotonic() - start > PATIENCE:
                    raise self.damaged(index, error) from error
            time.sleep(1)

    def read_batch(self, indices: Sequence[int]) -> list[PackedSample]:
        """Return several samples, of which an object store sends all but the first at once, to hide its latency."""
        first, *others = indices
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            return [self.read(first), *pool.map(self.read, others)]

    def damaged(self, index: int, error: Exception) -> ValueError:
        """Return the error of a sample that cannot be read or decoded."""
        shard = self.names[bisect(self.ends, index)]
        hint = "check the network and the store, then go on with the run" if self._is_of_transfer(error) else REPAIR
        return ValueError(f"sample {index} of {self.path}, in {shard}, cannot be read: {_first_line(error)}; {hint}")

    def _is_of_transfer(self, error: Exception) -> bool:
        """Return whether an object store failed for now: not by what it sent, nor because it has or shows nothing."""
        reply = getattr(error, "response", None)
        status = reply.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) if isinstance(reply, dict) else 500
        lasting = isinstance(error, ValueError | FileNotFoundError) or type(error) is OSError  # a shard that is cut
        return self.remote and status >= 500 and not lasting

    def _open(self) -> Any:
        library = streaming_library()
        from litdata.streaming.resolver import Dir
        from litdata.utilities.env import _WorkerEnv

        place = Dir(path=str(self.local.resolve()), url=self.path if self.remote else None)
        data = library.StreamingDataset(place, batch_decode=0, storage_options=_options(self.path))
        if self.remote:
            with suppress(AttributeError):  # another litdata asks twice for each sample
                data.cache = data._create_cache(_WorkerEnv.detect())
                _keep_tables(data.cache._reader._try_load_config(), self.counts)
        return data


def _options(address: str) -> dict[str, Any]:
    """Return how to ask an object store: litdata would ask S3 a thousand times, for hours, before it fails."""
    if not address.startswith("s3://"):
        return {}
    from botocore.config import Config

    retries: Any = {"mode": "standard", "total_max_attempts": 2}  # `read` goes on
    return {
        "config": Config(
            connect_timeout=TIMEOUT, read_timeout=TIMEOUT, retries=retries, max_pool_connections=_CONNECTIONS
        )
    }


def _keep_tables(config: Any, counts: Sequence[int]) -> None:
    """Let litdata request the table of offsets at the beginning of a shard once, not for each sample."""
    fetch = config.download_chunk_bytes_from_index

    @lru_cache(_TABLES)
    def table(shard: int) -> bytes:
        return bytes(fetch(shard, 0, 4 * (counts[shard] + 2)))

    def read(shard: int, offset: int, length: int) -> bytes:
        end = int(offset) + int(length)
        return table(shard)[offset:end] if end <= 4 * (counts[shard] + 2) else fetch(shard, offset, length)

    config.download_chunk_bytes_from_index = read


def check_index(text: bytes, path: str) -> list[tuple[str, int, int]]:
    """Return name, samples and bytes of each shard in litdata's index; ValueError for other fields than bytes.

    >>> check_index(b'{"chunks": [], "config": {"data_format": ["int", "pickle"]}}', "index.json")
    Traceback (most recent call last):
    ValueError: index.json is damaged or not of softpoint (ValueError: fields stored as ['int', 'pickle'], of which ...
    """
    stored = read_json(text, path)
    try:
        config = stored["config"]
        if (formats := config["data_format"]) != ["bytes"] * len(_FIELDS):
            raise ValueError(f"fields stored as {formats}, of which others than bytes may run code when they are read")
        _, tree = json.loads(config["data_spec"])
        leaf: dict[str, Any] = {"type": None, "context": None, "children_spec": []}
        if tree != {"type": "builtins.dict", "context": json.dumps(_FIELDS), "children_spec": [leaf] * len(_FIELDS)}:
            raise ValueError(f"fields {tree}")
        unused = ("compression", "encryption", "ipc_compression", "format")
        if changed := {key: config[key] for key in unused if config.get(key)}:
            raise ValueError(f"{changed}")
        shards = [(chunk["filename"], chunk["chunk_size"], chunk["chunk_bytes"]) for chunk in stored["chunks"]]
        for name, samples, size in shards:
            whole = type(samples) is int and type(size) is int and samples > 0
            if not (whole and _SHARD.fullmatch(name) and 4 * (samples + 2) <= size < 1 << 32):  # offsets have 32 bits
                raise ValueError(f"shard {name!r} of {samples} samples in {size} bytes")
        return shards
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path} is damaged or not of softpoint ({type(error).__name__}: {error}); {REPAIR}"
        ) from error


def _read(path: Path, name: str) -> bytes:
    """Return a description or an index; FileNotFoundError or ValueError with `name` for one that cannot be read."""
    try:
        if (length := path.stat().st_size) > _MAX_BYTES:
            raise ValueError(f"{name} has {length} bytes, more than any packed set needs; {REPAIR}")
        return path.read_bytes()
    except FileNotFoundError as error:
        hint = REPAIR if path.name == INDEX else "the folder is not a packed set, or its packing was interrupted"
        raise FileNotFoundError(f"{name} is missing; {hint}") from error
    except OSError as error:
        raise ValueError(f"{name} cannot be read ({error.strerror}); {REPAIR}") from error


class _TooLongError(Exception):
    """More bytes than a description or an index needs."""


class _Bounded(BufferedWriter):
    """A file that a download cannot make longer than `_MAX_BYTES`."""

    def write(self, content: Any) -> int:
        if self.tell() + len(content) > _MAX_BYTES:
            raise _TooLongError(f"more than {_MAX_BYTES} bytes, which no packed set needs")
        return super().write(content)


def _download(address: str, name: str) -> bytes:
    """Return the content of the file `name` at an address; FileNotFoundError if it cannot be downloaded."""
    streaming_library()
    from litdata.streaming.downloader import get_downloader

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        try:
            # Not to a path, for which it may start threads that loading processes cannot be forked with.
            with _Bounded(FileIO(path, "w")) as file:
                get_downloader(address, folder, [], _options(address)).download_fileobj(f"{address}/{name}", file)
        except _TooLongError as error:
            raise ValueError(f"{address}/{name} has {error}; {REPAIR}") from error
        except Exception as error:  # each object store has its own
            hint = "check the address, your credentials, and that the set is complete"
            raise FileNotFoundError(f"{address}/{name} cannot be downloaded ({_first_line(error)}); {hint}") from error
        return _read(path, f"{address}/{name}")


def _first_line(error: Exception) -> str:
    # Some services answer with pages of their internals.
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
