"""The command that lists public data sets and downloads one."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.training import CONFIGS, ROOT
from softpoint.cli.fetch import arguments


def test_the_list_has_every_data_set_and_marks_the_downloaded(start: Callable, tmp_path: Path) -> None:
    (tmp_path / "keypoints" / "fly-wing").mkdir(parents=True)
    (tmp_path / "keypoints" / "fly-wing" / "x").touch()
    ending = start("fetch", "list", f"root={tmp_path}")
    assert ending.code == 0 and not ending.err
    lines = {line.split()[0]: line for line in ending.out.splitlines() if line[:1].strip()}
    names = {path.stem for path in (CONFIGS / "fetch").glob("*.yaml")}
    assert set(lines) == names | {"name"}
    assert [name for name in names if lines[name].split()[-1] == "yes"] == ["fly_wing"]
    assert "CC BY-NC-SA" in lines["fly_wing"]


def test_a_data_set_is_downloaded_once(start: Callable, data_root: Path, tmp_path: Path) -> None:
    source = data_root / "keypoints" / "fly-wing"
    if not source.is_dir():
        pytest.skip(f"no {source}; softpoint fetch fly_wing downloads it")
    (tmp_path / "downloads").mkdir()
    with tarfile.open(tmp_path / "downloads" / "ml-morph.tar.gz", "w:gz", compresslevel=1) as archive:
        archive.add(ROOT / "LICENSE", "top/LICENSE")
        archive.add(source, "top")
    ending = start("fetch", "fly_wing", f"root={tmp_path}")
    where = tmp_path / "keypoints" / "fly-wing"
    assert ending.code == 0, ending.err
    assert "license: CC BY-NC-SA 3.0" in ending.out and f"{where} is complete" in ending.out
    assert len(list((where / "image-examples").iterdir())) == 58
    again = start("fetch", "fly_wing", f"root={tmp_path}")
    assert again.out.strip() == f"{where} exists already; remove it to download it again"


def test_a_wrong_archive_ends_in_one_message(start: Callable, tmp_path: Path) -> None:
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "ml-morph.tar.gz").write_bytes(b"<html>")
    ending = start("fetch", "fly_wing", f"root={tmp_path}")
    assert ending.code == 1 and ending.err.startswith(f"error: {tmp_path / 'downloads' / 'ml-morph.tar.gz'} is not unp")
    assert "Traceback" not in ending.err and not (tmp_path / "keypoints" / "fly-wing").exists()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ([], []),
        (["list"], []),
        (["openfield", "keep=true"], ["fetch=openfield", "keep=true"]),
        (["root=x", "fetch=celeba"], ["root=x", "fetch=celeba"]),
        (["--help"], ["--help"]),
    ],
)
def test_a_bare_name_chooses(line: list[str], expected: list[str]) -> None:
    assert arguments(line) == expected


def test_two_names_are_refused() -> None:
    with pytest.raises(SystemExit, match="openfield and celeba are several names"):
        arguments(["openfield", "celeba"])
