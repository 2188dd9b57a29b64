"""Takes files out of an archive by a stranger, which is checked to its end before anything is written."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from rich.progress import track

from softpoint.paths import sha256

# How many times larger than the archive its content may be: images hardly shrink, labels tenfold.
RATIO = 100

_MOST_FILES = 500_000
_CHUNK = 1 << 20
_COMPRESSIONS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}


class _Member(NamedTuple):
    """One entry of an archive."""

    name: str  # as the archive spells it
    size: int  # unpacked, in bytes
    folder: bool
    oddity: str  # why it is refused; empty for plain files and folders
    handle: Any  # what the archive opens it by


def unpack(archive: Path, folder: Path, place: Callable[[str], str | None]) -> list[str]:
    """The paths below `folder` of the files taken out of a zip or tar archive (plain, gz, bz2, xz).

    `place` gives each path of the archive its path below `folder`, or None to leave it out.
    ValueError, before anything is written, for an archive that is damaged or holds anything but plain files and
    folders, paths that leave it, more than RATIO times its own size, or two files of one path.
    """
    with _opened(archive) as (members, read):
        plan = _plan(archive, members, place)
        for path, member in track(plan.items(), description=f"unpacking {archive.name}"):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with _told(archive):
                source = read(member.handle)
            with source, target.open("xb") as file:
                _copy(archive, source, file, member)
    return list(plan)


def content_digest(folder: Path, paths: Iterable[str]) -> str:
    """sha256 over the sorted paths and the sha256 of each file's bytes, in hexadecimal.

    It is that of what `sha256sum` prints for these files in the order of their paths.
    """
    whole = hashlib.sha256()
    for path in sorted(paths):
        whole.update(f"{sha256(folder / path)}  {path}\n".encode())
    return whole.hexdigest()


def _plan(archive: Path, members: Iterator[_Member], place: Callable[[str], str | None]) -> dict[str, _Member]:
    """Which member becomes which file; every member is looked at, wanted or not."""
    plan: dict[str, _Member] = {}
    room = RATIO * archive.stat().st_size + _CHUNK
    for count, member in enumerate(_each(archive, members)):
        path = _path(archive, member)
        room -= member.size
        if room < 0 or count > _MOST_FILES:
            raise _refused(archive, f"{member.name!r}: the archive holds more than {RATIO} times its own size")
        target = None if member.folder else place(path)
        if target is not None and plan.setdefault(target, member) is not member:
            raise _refused(archive, f"{member.name!r} is there twice")
    for path in plan:
        if above := [str(parent) for parent in Path(path).parents if parent.as_posix() in plan]:
            raise _refused(archive, f"{above[0]!r} is a file and a folder at once")
    if not plan:
        raise _refused(archive, "it holds none of the wanted files")
    return plan


def _path(archive: Path, member: _Member) -> str:
    """Its path with single slashes; ValueError for one that leaves the folder, here or on another system."""
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    strange = "\\" in member.name or not member.name.isprintable() or any(len(part.encode()) > 255 for part in parts)
    if member.name.startswith("/") or ".." in parts or ":" in "".join(parts[:1]) or strange:
        raise _refused(archive, f"{member.name!r} is no path below a folder")
    if member.oddity:
        raise _refused(archive, f"{member.name!r} is {member.oddity}")
    return "/".join(parts)


def _copy(archive: Path, source: IO[bytes], file: IO[bytes], member: _Member) -> None:
    left = member.size
    while left:
        with _told(archive):
            chunk = source.read(min(_CHUNK, left))
        if not chunk:
            raise _refused(archive, f"it ends within {member.name!r}")
        file.write(chunk)
        left -= len(chunk)
    with _told(archive):
        source.read(1)  # a zip compares its checksum when it comes to the end


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[Iterator[_Member], Callable[[Any], IO[bytes]]]]:
    """Its members, and what opens one of them."""
    with archive.open("rb") as file:
        head = file.read(8)
    opener = next((opener for magic, opener in _COMPRESSIONS.items() if head.startswith(magic)), open)
    with ExitStack() as stack:
        with _told(archive):
            if head[:4] in (b"PK\3\4", b"PK\5\6"):
                zipped = stack.enter_context(zipfile.ZipFile(archive))
                opened: Any = _zip_members(zipped), zipped.open
            else:
                sipped: Any = _Sipping(stack.enter_context(opener(archive, "rb")))
                tar = stack.enter_context(tarfile.open(fileobj=sipped, mode="r:"))
                opened = _tar_members(tar), tar.extractfile
        yield opened


def _zip_members(zipped: zipfile.ZipFile) -> Iterator[_Member]:
    for info in zipped.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        odd = "" if kind in (0, stat.S_IFREG, stat.S_IFDIR) else "a link or a device"
        yield _Member(info.filename, info.file_size, info.is_dir(), "encrypted" if info.flag_bits & 1 else odd, info)


def _tar_members(tar: tarfile.TarFile) -> Iterator[_Member]:
    for info in tar:
        plain = info.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) and info.sparse is None
        yield _Member(info.name, info.size, info.isdir(), "" if plain else "a link, a device or sparse", info)


def _each(archive: Path, members: Iterator[_Member]) -> Iterator[_Member]:
    while True:
        with _told(archive):
            member = next(members, None)
        if member is None:
            return
        yield member


@contextmanager
def _told(archive: Path) -> Iterator[None]:
    """Tells whatever goes wrong while the archive is read as damage to it."""
    try:
        yield
    # What the readers of the standard library raise on hostile bytes is not documented.
    except Exception as error:
        raise _refused(archive, f"it is damaged or no archive ({type(error).__name__}: {error})") from error


def _refused(archive: Path, why: str) -> ValueError:
    return ValueError(f"{archive} is not unpacked: {why}; remove it and download it again")


class _Sipping:
    """A file that is never read in one large gulp: a tar may announce a header of any size."""

    def __init__(self, file: Any) -> None:
        self.file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, count: int) -> bytes:
        if not 0 <= count <= 16 * _CHUNK:
            raise ValueError(f"a header of {count} bytes")
        return self.file.read(count)
