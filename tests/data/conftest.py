"""Labels, and the set packed from them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from helpers.data import labeled_data
from helpers.training import write_labels
from softpoint.data import LabeledData


@pytest.fixture(scope="session")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> LabeledData:
    """Forty small images of three sizes, some points of which are unlabeled."""
    folder = tmp_path_factory.mktemp("labels")
    write_labels(folder, count=40, missing=[(0, 1), (0, 2), (5, 3), *((7, k) for k in range(4))])
    return labeled_data(folder / "labels.csv", seed=3, val=0.2, test=0.2)


@pytest.fixture(scope="session")
def packed(labeled: LabeledData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The labels packed into several shards per split; not to be changed."""
    pytest.importorskip("litdata")
    from softpoint.data.shards.writer import pack

    folder = tmp_path_factory.mktemp("packed") / "set"
    pack(labeled.sources, folder, 0.05, 3, labeled.has_hidden_points)
    return folder


@pytest.fixture
def far(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Arguments that open the set at an address, whose downloads are read from a copy in `tmp_path`."""
    downloader = pytest.importorskip("litdata.streaming.downloader")
    shutil.copytree(packed, tmp_path / "bucket" / "set")

    class Bucket(downloader.Downloader):
        def local(self, address: str) -> Path:
            return tmp_path / address.removeprefix("s3://")

        def download_file(self, remote_filepath: str, local_filepath: str) -> None:
            if not Path(local_filepath).exists():  # as the downloaders of litdata do
                shutil.copy(self.local(remote_filepath), local_filepath)

        def download_fileobj(self, remote_filepath: str, fileobj: Any) -> None:
            fileobj.write(self.local(remote_filepath).read_bytes())

        def download_bytes(self, remote_filepath: str, offset: int, length: int, local_chunkpath: str) -> bytes:
            with self.local(remote_filepath).open("rb") as file:
                file.seek(offset)
                return file.read(length)

    monkeypatch.setitem(downloader._DOWNLOADERS, "s3://", Bucket)
    return {"folder": "s3://bucket/set", "cache_dir": tmp_path / "cache"}
