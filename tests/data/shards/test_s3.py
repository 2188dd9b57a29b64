"""A set in a real object store, served by moto: packed to its address, and streamed from it by two processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.data import same
from helpers.streaming import SEED, equal, open_streamed
from softpoint.data import LabeledData
from softpoint.data.loaders import Loader
from softpoint.data.shards import reader
from softpoint.data.shards.upload import local_folder
from softpoint.data.shards.writer import pack

s3fs = pytest.importorskip("s3fs", reason='needs pip install "softpoint[s3]"')
server = pytest.importorskip("moto.server", reason='needs pip install "moto[server]"')
S3Downloader = pytest.importorskip("litdata.streaming.downloader").S3Downloader
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A running server with an empty bucket `images`."""
    boto3 = pytest.importorskip("boto3")
    moto = server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    for name, value in {"ENDPOINT_URL": f"http://{host}:{port}", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b",
                        "DEFAULT_REGION": "us-east-1"}.items():  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)
    s3fs.S3FileSystem.clear_instance_cache()
    boto3.client("s3").create_bucket(Bucket="images")
    yield moto
    moto.stop()


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of all ranges of bytes that are requested."""
    lengths: list[int] = []

    def count(self: Any, path: str, offset: int, length: int, local: str) -> bytes:
        lengths.append(int(length))
        return fetch(self, path, offset, length, local)

    fetch = S3Downloader.download_bytes
    monkeypatch.setattr(S3Downloader, "download_bytes", count)
    return lengths


def test_a_set_is_packed_to_and_streamed_from_an_object_store(
    store: Any,
    requests: list[int],
    labeled: LabeledData,
    packed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = f"s3://images/{tmp_path.name}"  # the server remembers earlier tests
    with local_folder(address) as folder:
        pack(labeled.sources, folder, 0.05, SEED, labeled.has_hidden_points)
    here, there = open_streamed(packed), open_streamed(address, cache_dir=tmp_path)
    assert there.description == here.description
    for split in ("val", "test"):
        requests.clear()
        assert equal(here.dataset(split), there.dataset(split))
        assert len(requests) == len(there.dataset(split)) + len(there.sources[split].shards.names)
    expected = list(here.train_dataloader())
    assert all(map(same, there.train_dataloader(), expected))
    assert not list(tmp_path.rglob("*.bin"))  # only the indices were copied
    there.loader = Loader(4, 1)
    loader = there.train_dataloader()
    for _ in zip(range(2), loader, strict=False):
        pass
    resumed = open_streamed(address, cache_dir=tmp_path)
    resumed.load_state_dict(there.state_dict())
    rest = list(resumed.train_dataloader())
    assert len(rest) == len(expected) - 2 and all(map(same, rest, expected[2:]))
    monkeypatch.setattr(reader, "PATIENCE", 0)
    monkeypatch.setattr(reader, "TIMEOUT", 0.1)
    store.stop()
    with pytest.raises(ValueError, match=r"sample 0 .*; check the network and the store"):
        resumed.dataset("val")[0]
