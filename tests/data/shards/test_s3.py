"""A set in a real object store, served by moto: packed to its address, and streamed from it by two processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.data import same
from helpers.streaming import SEED, equal, open_streamed
from softpoint.data import LabeledData
from softpoint.data.labeled import Loader
from softpoint.data.shards.upload import local_folder
from softpoint.data.shards.writer import pack

s3fs = pytest.importorskip("s3fs", reason='needs pip install "softpoint[s3]"')
server = pytest.importorskip("moto.server", reason='needs pip install "moto[server]"')
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    boto3 = pytest.importorskip("boto3")
    moto = server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    for name, value in {"ENDPOINT_URL": f"http://{host}:{port}", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b",
                        "DEFAULT_REGION": "us-east-1"}.items():  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)
    s3fs.S3FileSystem.clear_instance_cache()
    boto3.client("s3").create_bucket(Bucket="images")
    yield f"s3://images/{tmp_path.name}"  # the server remembers earlier tests
    moto.stop()


def test_a_set_is_packed_to_and_streamed_from_an_object_store(
    bucket: str, labeled: LabeledData, packed: Path, tmp_path: Path
) -> None:
    with local_folder(bucket) as folder:
        pack(labeled.sources, folder, 0.05, SEED, labeled.has_hidden_points)
    here, there = open_streamed(packed), open_streamed(bucket, cache_dir=tmp_path)
    assert there.description == here.description
    for split in ("val", "test"):
        assert equal(here.dataset(split), there.dataset(split))
    expected = list(here.train_dataloader())
    assert all(map(same, there.train_dataloader(), expected))
    assert not list(tmp_path.rglob("*.bin"))  # only the indices were copied
    there.loader = Loader(4, 1)
    loader = there.train_dataloader()
    for _ in zip(range(2), loader, strict=False):
        pass
    resumed = open_streamed(bucket, cache_dir=tmp_path)
    resumed.load_state_dict(there.state_dict())
    rest = list(resumed.train_dataloader())
    assert len(rest) == len(expected) - 2 and all(map(same, rest, expected[2:]))


def test_each_process_reads_its_part(bucket: str, labeled: LabeledData, tmp_path: Path) -> None:
    with local_folder(bucket) as folder:
        pack(labeled.sources, folder, 0.05, SEED, labeled.has_hidden_points)
    data = open_streamed(bucket, cache_dir=tmp_path)
    whole = [draw.index for draw in data.sampler("train", True, 0, 1)]
    parts = [[draw.index for draw in data.sampler("train", True, rank, 2)] for rank in range(2)]
    assert [index for pair in zip(*parts, strict=True) for index in pair][: len(whole)] == whole[: 2 * len(parts[0])]
    assert not {*parts[0]} & {*parts[1]} or len(whole) % 2
    assert data.dataset("train")[next(iter(data.sampler("train", True, 1, 2)))]["index"] == parts[1][0]
