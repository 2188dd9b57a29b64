"""The files of a packed set: a folder that is read in place, or one far away of which a part is kept here."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock

from softpoint.data.shards.description import AGAIN, DESCRIPTION, Description, read_short
from softpoint.paths import user_cache_dir

_FAR = re.compile(r"[a-z0-9]+://|local:")

# What litdata reads from; "local:" is a folder that is worth copying from, such as one on a slow network.
_SCHEMES = ("s3://", "gs://", "r2://", "azure://", "hf://", "local:")


class Files(Protocol):
    """The files of a packed set, wherever they lie."""

    place: str  # for messages
    here: bool  # whether they can be read without fetching them

    def path(self, name: str, size: int | None = None) -> Path:
        """Where a file, such as "train/chunk-0-0.bin", can be read now.

        Raises FileNotFoundError where it cannot be had, ValueError for one of another `size` in bytes.
        """
        ...


def open_files(folder: str, cache_dir: str | Path | None, limit: int) -> tuple[Files, Description]:
    """The files of the set in a folder or at an address, and what it says of itself.

    Of sets far away at most `limit` bytes of chunks are kept below `cache_dir`, all sets together.
    Raises FileNotFoundError where there is no set, ValueError where it is damaged.
    """
    folder = str(folder).rstrip("/")
    place = f"{folder}/{DESCRIPTION}"
    if not _FAR.match(folder):
        here = Folder(folder)
        return here, Description.loads(read_short(here.path(DESCRIPTION), place), place)
    if not folder.startswith(_SCHEMES):
        raise ValueError(f"data.folder={folder}: sets are read from {' '.join(_SCHEMES)} or a folder")
    description = Description.loads(_download(folder, DESCRIPTION), place)
    return Kept(folder, description.fingerprint, user_cache_dir(cache_dir), limit), description


class Folder:
    """Files that lie in a folder and stay there."""

    here = True

    def __init__(self, folder: str) -> None:
        self.place = folder

    def path(self, name: str, size: int | None = None) -> Path:
        """Where it lies; raises as `Files` says."""
        path = Path(self.place) / name
        try:
            found = path.stat().st_size
        except OSError as error:
            raise FileNotFoundError(_missing(self.place, name)) from error
        if size is not None and found != size:
            raise ValueError(f"{path} has {found} bytes, not {size}; {AGAIN}")
        return path


class Kept:
    """Files far away, each brought here when it is asked for; those not used for longest make room for it.

    The processes of a machine share them: a lock lets one fetch at a time, and the others find what it brought.
    """

    here = False

    def __init__(self, place: str, fingerprint: str, cache: Path, limit: int) -> None:
        self.place, self.root, self.limit = place, cache / "streaming", limit
        self.folder = self.root / hashlib.sha256(f"{place} {fingerprint}".encode()).hexdigest()[:32]
        self._downloader: tuple[int, Any] = (0, None)  # and whose, because connections do not survive a fork

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_downloader": (0, None)}

    def path(self, name: str, size: int | None = None) -> Path:
        """Where it lies now; raises as `Files` says."""
        path = self.folder / name
        try:
            if not _whole(path, size):
                path.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(self.root / "lock"):
                    if not _whole(path, size):
                        self._make_room(size or 0)
                        self._fetch(name, path, size)
            with contextlib.suppress(FileNotFoundError):
                os.utime(path)
        except PermissionError as error:
            raise ValueError(f"data.cache_dir={self.root.parent} may not be written to: {error}") from error
        return path

    def _make_room(self, size: int) -> None:
        # Whoever holds the lock is alone: what is fetched by halves was left by a process that died.
        for debris in self.root.glob("*/*/*.part*"):
            debris.unlink(missing_ok=True)
        found = sorted((status.st_mtime_ns, status.st_size, file) for file, status in _chunks(self.root))
        used = sum(length for _, length, _ in found)
        for _, length, file in found:
            if used + size <= self.limit:
                break
            file.unlink(missing_ok=True)
            used -= length

    def _fetch(self, name: str, path: Path, size: int | None) -> None:
        if self._downloader[0] != os.getpid():
            self._downloader = (os.getpid(), _connect(self.place))
        part = path.with_name(f"{path.name}.part")
        _bring(self._downloader[1], self.place, name, part)
        if size is not None and (found := part.stat().st_size) != size:
            part.unlink()
            raise ValueError(f"{self.place}/{name} has {found} bytes, not {size}; {AGAIN}")
        part.replace(path)


def _chunks(root: Path) -> list[tuple[Path, os.stat_result]]:
    return [(file, file.stat()) for file in root.glob("*/*/*.bin")]


def _connect(place: str) -> Any:
    """litdata's downloader for an address; ImportError that says how to install it."""
    try:
        from litdata.streaming.downloader import get_downloader
    except ImportError as error:
        raise ImportError(f'reading {place} needs litdata: pip install -e ".[streaming]" ({error})') from error
    try:
        return get_downloader(place, "", [])
    except Exception as error:  # each service has its own
        raise ValueError(
            f"{place} cannot be reached: {_first_line(error)}; check the address and your credentials"
        ) from error


def _bring(downloader: Any, place: str, name: str, to: Path) -> None:
    try:
        downloader.download_file(f"{place}/{name}", str(to))
        to.stat()
    except Exception as error:  # each service has its own
        why = f"({_first_line(error)}); check the address, your credentials, and that the set is complete"
        raise FileNotFoundError(f"{place}/{name} cannot be fetched {why}") from error


def _first_line(error: Exception) -> str:
    # Some services answer with pages of their internals.
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _download(place: str, name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        _bring(_connect(place), place, name, Path(folder) / name)
        return read_short(Path(folder) / name, f"{place}/{name}")


def _whole(path: Path, size: int | None) -> bool:
    try:
        return size in (None, path.stat().st_size)
    except FileNotFoundError:
        return False


def _missing(place: str, name: str) -> str:
    if name == DESCRIPTION:
        return f"{place} holds no {DESCRIPTION}: it is not a packed set, or its packing was interrupted"
    return f"{place} lacks {name}; {AGAIN}"
