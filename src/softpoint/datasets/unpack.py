"""Extraction of untrusted archives: every entry is checked before the first file is written."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from softpoint.paths import sha256
from softpoint.progress import track

# How many times larger than the archive its content may be: images hardly shrink, labels tenfold.
MAX_RATIO = 100

_MAX_FILES = 500_000
_MAX_HEADER = 1 << 24  # bytes
_COMPRESSIONS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}

Member = tarfile.TarInfo | zipfile.ZipInfo


def unpack(archive: Path, folder: Path, place: Callable[[str], str | None]) -> list[str]:
    """Return the paths below `folder` of the files extracted from a zip or tar archive (plain, gz, bz2, xz).

    `place` maps a path in the archive to one below `folder`, or to None to leave the file out.
    Raises ValueError, before anything is written, for a damaged archive, entries that are not plain files or folders,
    paths outside the archive, content of more than MAX_RATIO times its size, or two files with the same path.
    """
    with archive.open("rb") as file:
        head = file.read(8)
    with _damage_reported(archive):
        if head[:4] in (b"PK\3\4", b"PK\5\6"):
            with zipfile.ZipFile(archive) as opened_zip:
                plan = _plan(archive, opened_zip.infolist(), place)
                for target, member in track(plan.items(), f"unpacking {archive.name}"):
                    member.filename = target
                    opened_zip.extract(member, folder)
            return list(plan)
        opener = next((opener for magic, opener in _COMPRESSIONS.items() if head.startswith(magic)), open)
        stream: Any = opener(archive, "rb")
        with stream, tarfile.open(fileobj=_BoundedReads(stream), mode="r:") as tar:  # type: ignore[call-overload]
            plan = _plan(archive, tar, place)
            for target, member in track(plan.items(), f"unpacking {archive.name}"):
                tar.extract(member.replace(name=target, mode=0o644, deep=False), folder, filter="data")
        return list(plan)


def content_digest(folder: Path, paths: Iterable[str]) -> str:
    """Return the hexadecimal sha256 of what `sha256sum` prints for these files below `folder`, sorted by path."""
    lines = (f"{sha256(folder / path)}  {path}\n" for path in sorted(paths))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _plan(archive: Path, members: Iterable[Any], place: Callable[[str], str | None]) -> dict[str, Any]:
    """Return the archive member of each file to write; every member is checked, extracted or not."""
    plan: dict[str, Any] = {}
    room = MAX_RATIO * archive.stat().st_size + (1 << 20)
    for count, member in enumerate(members):
        name, size, is_folder = _describe(archive, member)
        room -= size
        if room < 0 or count > _MAX_FILES:
            raise _refusal(archive, f"{name!r}: the content is more than {MAX_RATIO} times as large as the archive")
        target = None if is_folder else place("/".join(part for part in name.split("/") if part not in ("", ".")))
        if target is not None and plan.setdefault(target, member) is not member:
            raise _refusal(archive, f"{name!r} occurs twice")
    for path in plan:
        if above := [parent.as_posix() for parent in Path(path).parents if parent.as_posix() in plan]:
            raise _refusal(archive, f"{above[0]!r} is both a file and a folder")
    if not plan:
        raise _refusal(archive, "it contains none of the expected files")
    return plan


def _describe(archive: Path, member: Member) -> tuple[str, int, bool]:
    """Return name, unpacked bytes and whether it is a folder; raise ValueError for links, devices and bad paths."""
    if isinstance(member, tarfile.TarInfo):
        name, size, is_folder = member.name, member.size, member.isdir()
        regular = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) and member.sparse is None
    else:
        name, size, is_folder = member.filename, member.file_size, member.is_dir()
        regular = stat.S_IFMT(member.external_attr >> 16) in (0, stat.S_IFREG, stat.S_IFDIR)
        if member.flag_bits & 1:
            raise _refusal(archive, f"{name!r} is encrypted")
        if member.header_offset < 0:
            raise _refusal(archive, f"it is damaged: {name!r} begins before the archive does")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    strange = "\\" in name or not name.isprintable() or any(len(part.encode()) > 255 for part in parts)
    if name.startswith("/") or ".." in parts or ":" in "".join(parts[:1]) or strange:
        raise _refusal(archive, f"{name!r} is not a path below a folder")
    if not regular:
        raise _refusal(archive, f"{name!r} is a link, a device or a sparse file")
    return name, size, is_folder


class _RefusedError(ValueError):
    """An archive that is not unpacked."""


def _refusal(archive: Path, reason: str) -> _RefusedError:
    return _RefusedError(f"{archive} is not unpacked: {reason}; remove it and download it again")


@contextmanager
def _damage_reported(archive: Path) -> Iterator[None]:
    """Raise every error of the archive readers as one ValueError; an error of the disk stays what it is."""
    try:
        yield
    except _RefusedError:
        raise
    except Exception as error:  # what the readers of the standard library raise on hostile bytes is not documented
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _refusal(archive, f"it is damaged or not an archive ({type(error).__name__}: {error})") from error


class _BoundedReads:
    """A file for tarfile that refuses to read a header of any announced size into memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes; raise ValueError for more than a header may have."""
        if not 0 <= count <= _MAX_HEADER:
            raise ValueError(f"a header of {count} bytes")
        return self.file.read(count)
