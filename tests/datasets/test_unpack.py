"""Archives are unpacked completely, or refused before a byte is written."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softpoint.datasets.unpack import content_digest, unpack

FILES = {"a.txt": b"first", "deep/er/b.bin": bytes(range(256)) * 40, "deep/empty": b"", "ünï cödé.txt": b"name"}


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("folder")
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        folder = tarfile.TarInfo("./folder/")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def same_path(path: str) -> str:
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refuses(archive: Path, match: str, place: Callable[[str], str | None] = same_path) -> None:
    out = archive.parent / "out"
    with pytest.raises(ValueError, match=match) as caught:
        unpack(archive, out, place)
    assert str(caught.value).startswith(f"{archive} is not unpacked: ")
    assert not out.exists()


@pytest.mark.parametrize("mode", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_all_files_are_extracted_unchanged(mode: str, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive = zipped(archive, FILES) if mode == "zip" else tarred(archive, FILES, mode)
    assert sorted(unpack(archive, tmp_path / "out", same_path)) == sorted(FILES)
    assert contents(tmp_path / "out") == FILES


@pytest.mark.parametrize("make", [zipped, tarred])
def test_only_the_chosen_files_are_extracted_to_their_places(make: Callable, tmp_path: Path) -> None:
    archive = make(tmp_path / "archive", FILES)
    place = {"deep/er/b.bin": "b", "a.txt": "c/d"}.get
    assert sorted(unpack(archive, tmp_path / "out", place)) == ["b", "c/d"]
    assert contents(tmp_path / "out") == {"b": FILES["deep/er/b.bin"], "c/d": b"first"}


def test_permissions_of_an_archive_are_ignored(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "archive", "w") as archive:
        info = tarfile.TarInfo("run.sh")
        info.mode, info.size = 0o6777, 1
        archive.addfile(info, io.BytesIO(b"x"))
    unpack(tmp_path / "archive", tmp_path / "out", same_path)
    assert stat.S_IMODE((tmp_path / "out" / "run.sh").stat().st_mode) & 0o6111 == 0


BAD_NAMES = ["../x", "a/../../x", "/etc/x", "C:/x", "c:x", "a\\..\\x", "..", "a/" + "n" * 300, "bell\a"]


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_path_that_leaves_the_folder_is_refused(make: Callable, name: str, tmp_path: Path) -> None:
    refuses(make(tmp_path / "archive", {"good": b"1", name: b"x"}), "is not a path below a folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive"]


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE, tarfile.CONTTYPE],
)
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "archive", "w") as archive:
        info = tarfile.TarInfo("odd")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    refuses(tmp_path / "archive", "'odd' is a link, a device or a sparse file|damaged")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip_are_refused(kind: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
        info = zipfile.ZipInfo("odd")
        info.create_system, info.external_attr = 3, (kind | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    refuses(tmp_path / "archive", "'odd' is a link, a device or a sparse file")


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "archive", {"a": b"x"})
    # Bit 0 of the flags in the central directory.
    content = bytearray(archive.read_bytes())
    content[content.rindex(b"PK\1\2") + 8] |= 1
    archive.write_bytes(content)
    refuses(archive, "'a' is encrypted")


@pytest.mark.parametrize("mode", ["zip", "w:gz", "w:bz2", "w:xz"])
def test_a_bomb_is_refused(mode: str, tmp_path: Path) -> None:
    files = {f"{i}.bin": bytes(2_000_000) for i in range(3)}
    archive = tmp_path / "archive"
    refuses(zipped(archive, files) if mode == "zip" else tarred(archive, files, mode), "more than 100 times as large")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_with_the_same_path_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
        archive.writestr("a/b", "1")
        archive.writestr("a//b", "2")
    refuses(tmp_path / "archive", "'a//b' occurs twice")
    refuses(tarred(tmp_path / "archive", {"a/b": b"1", "./a/b": b"2"}), "'./a/b' occurs twice")


@pytest.mark.parametrize("make", [zipped, tarred])
def test_a_file_that_is_a_folder_too_is_refused(make: Callable, tmp_path: Path) -> None:
    refuses(make(tmp_path / "archive", {"a": b"1", "a/b": b"2"}), "'a' is both a file and a folder")


def header(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("name")
    info.type, info.size = kind, size
    return info.tobuf()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        *((junk, "damaged or not|none of the expected") for junk in (b"", b"no archive" * 99, b"PK\3\4", b"\x1f\x8b")),
        (header(tarfile.XHDTYPE, 1 << 32) + bytes(4096), "damaged or not an archive .*a header of"),
        (header(tarfile.REGTYPE, 100_000) + bytes(512), "damaged or not an archive"),
    ],
)
def test_other_files_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(content)
    refuses(tmp_path / "archive", message)


def test_an_entry_before_the_start_of_a_zip_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "archive", FILES)
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + whole[54:])  # from its directory on, which counts places from the end, all is whole
    refuses(path, "begins before the archive does")


def test_every_member_is_checked_and_one_is_expected(tmp_path: Path) -> None:
    refuses(tarred(tmp_path / "archive", {"good": b"1", "../x": b"x"}), "not a path below", {"good": "good"}.get)
    refuses(zipped(tmp_path / "archive", FILES), "none of the expected files", lambda path: None)


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of one archive of each kind."""
    folder = tmp_path_factory.mktemp("archives")
    tars = {mode: tarred(folder / "archive", FILES, mode).read_bytes() for mode in ("w", "w:gz", "w:bz2", "w:xz")}
    return tars | {"zip": zipped(folder / "archive", FILES).read_bytes()}


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_archive_gives_files_or_one_error(
    data: st.DataObject, archives: dict[str, bytes], tmp_path_factory
) -> None:
    content = bytearray(archives[data.draw(st.sampled_from(sorted(archives)))])
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("damage")
    (folder / "archive").write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        paths = unpack(folder / "archive", folder / "out", same_path)
    except ValueError as error:
        assert "archive is not unpacked: " in str(error)
    else:
        assert sorted(contents(folder / "out")) == sorted(paths)
    assert {path.name for path in folder.iterdir()} <= {"archive", "out"}


def test_the_digest_is_that_of_sha256sum(tmp_path: Path) -> None:
    zipped(tmp_path / "archive", FILES)
    paths = unpack(tmp_path / "archive", tmp_path / "out", same_path)
    lines = "".join(f"{sha256(FILES[path]).hexdigest()}  {path}\n" for path in sorted(FILES))
    digest = content_digest(tmp_path / "out", paths)
    assert digest == sha256(lines.encode()).hexdigest() == content_digest(tmp_path / "out", reversed(paths))
    (tmp_path / "out" / "a.txt").write_bytes(b"First")
    assert content_digest(tmp_path / "out", paths) != digest
