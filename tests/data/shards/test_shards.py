"""A packed set comes from anywhere; damaged or made to do harm, it is one clear error and never runs code."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.streaming import opened, same
from helpers.training import NAMES
from softpoint.data import LabeledData
from softpoint.data.shards.description import Description
from softpoint.data.shards.files import open_files
from softpoint.data.shards.sample import FIELDS, Sample, parse, validate
from softpoint.data.shards.shards import Shards, read_index
from softpoint.data.shards.writer import pack

pytest.importorskip("litdata")


def test_a_source_goes_to_another_process(packed: Path, far: dict[str, Any]) -> None:
    for data in (opened(packed), opened(**far)):
        source = data.sources["train"]
        assert np.array_equal(pickle.loads(pickle.dumps(source)).load(0, 3).image, source.load(0, 3).image)


def kept(far: dict[str, Any]) -> list[Path]:
    return list(far["cache_dir"].rglob("*.bin"))


def taken(far: dict[str, Any]) -> int:
    """Bytes of chunks that are kept; one that is just given up counts for nothing."""
    total = 0
    for path in kept(far):
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def test_a_set_far_away_gives_the_same_and_leaves_at_most_so_much(packed: Path, far: dict[str, Any]) -> None:
    here = opened(packed, window=1)
    largest = max(chunk.size for shards in here.shards.values() for chunk in shards.chunks)
    limit = 3 * largest
    assert limit < sum(path.stat().st_size for path in packed.rglob("*.bin"))
    for workers in (0, 2):
        data = opened(**far, window=1, max_cache_gb=limit / 1e9, num_workers=workers)
        pairs = zip(data.train_dataloader(), here.train_dataloader(), strict=True)
        for batch, expected in pairs:
            assert same(batch, expected)
            assert taken(far) <= limit
    assert kept(far)


def test_the_chunk_that_comes_next_is_fetched_meanwhile(far: dict[str, Any]) -> None:
    data = opened(**far, window=1)
    shards = data.shards["train"]
    chunks = [shards.locate(draw.index)[0] for draw in data.train_dataloader().sampler]
    first, second = list(dict.fromkeys(chunks))[:2]
    before = set(threading.enumerate())
    data.sources["train"].load(0, int(shards.ends[first]) - 1)
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert {path.name for path in kept(far)} == {shards.chunks[first].name, shards.chunks[second].name}


def test_a_chunk_is_fetched_once_and_again_when_it_is_gone(
    far: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from softpoint.data.shards import files

    fetched: list[str] = []
    bring = files._bring
    monkeypatch.setattr(files, "_bring", lambda d, place, name, to: (fetched.append(name), bring(d, place, name, to)))
    shards = opened(**far).shards["val"]
    fetched.clear()
    first = shards.read(0)
    assert shards.read(0).image == first.image and len(fetched) == 1
    kept(far)[0].write_bytes(b"half")
    assert shards.read(0).image == first.image and len(fetched) == 2


def test_too_small_a_cache_is_refused(far: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=r"data.max_cache_gb=1e-05 is less than the .* GB that data.window=2 chunks of"
    ):
        opened(**far, max_cache_gb=1e-5)


def test_an_unknown_address_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data.folder=ftp://x: sets are read from s3:// .* or a folder"):
        opened("ftp://x")


def test_a_chunk_that_cannot_be_fetched_is_named(packed: Path, tmp_path: Path) -> None:
    shutil.copytree(packed, tmp_path / "set")
    data = opened(f"local:{tmp_path / 'set'}", cache_dir=tmp_path / "cache")
    name = data.shards["val"].chunks[0].name
    (tmp_path / "set" / "val" / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"val/{name} cannot be fetched \(.*\); check the address"):
        data.sources["val"].load(0, 0)


# What is damaged, or comes from somebody who means harm.


@pytest.fixture
def copy(packed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed, tmp_path / "set"))


def test_no_set_is_said_to_be_none(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=r"holds no softpoint.json: it is not a packed set, or its packing"):
            opened(folder)


@pytest.mark.parametrize("name", ["train/index.json", "val/chunk-0-0.bin"])
def test_a_missing_file_is_named_at_once(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"set lacks {name}; copy the set again, or pack it anew"):
        opened(copy)


def test_a_chunk_cut_short_is_named_at_once(copy: Path) -> None:
    path = copy / "test" / "chunk-0-0.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"test/chunk-0-0.bin has \d+ bytes, not \d+; copy the set again"):
        opened(copy)


@pytest.mark.parametrize("name", ["softpoint.json", "train/index.json"])
def test_a_description_cut_anywhere_is_one_error(copy: Path, name: str) -> None:
    whole = (copy / name).read_bytes()
    for length in range(0, len(whole), 7):
        (copy / name).write_bytes(whole[:length])
        with pytest.raises(ValueError, match=f"{name} is damaged .*copy the set again, or pack it anew"):
            opened(copy)


def test_an_index_that_runs_out_of_its_folder_is_refused(copy: Path) -> None:
    index = json.loads((copy / "val" / "index.json").read_text())
    for change in ({"filename": "../../x.bin"}, {"chunk_size": -1}, {"chunk_bytes": 10**30}, {"chunk_size": None}):
        changed = index | {"chunks": [index["chunks"][0] | change]}
        with pytest.raises(ValueError, match=r"index\.json is damaged"):
            read_index(json.dumps(changed).encode(), "index.json")
    fewer = index | {"chunks": [index["chunks"][0] | {"chunk_size": 1}]}
    (copy / "val" / "index.json").write_text(json.dumps(fewer))
    with pytest.raises(ValueError, match=r"lists 1 samples, but softpoint.json \d+"):
        opened(copy)


class Bomb:
    """Runs code of its maker when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def test_a_strangers_pickle_is_never_opened(copy: Path, tmp_path: Path) -> None:
    from litdata.streaming import Cache

    mark = tmp_path / "exploded"
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.exists()
    mark.unlink()
    shutil.rmtree(copy / "train")
    cache = Cache(str(copy / "train"), chunk_bytes=10_000)
    cache[0] = dict.fromkeys(FIELDS, Bomb(mark))
    cache.done()
    cache.merge()
    with pytest.raises(ValueError, match=r"stores fields as 'pickle', .*: reading 'pickle' could run code of whoever"):
        opened(copy)
    assert not mark.exists()
    # An index that hides it makes the bytes wrong, and still nothing unpickles them.
    index = json.loads((copy / "train" / "index.json").read_text())
    index["config"]["data_format"] = [*FIELDS.values()]
    (copy / "train" / "index.json").write_text(json.dumps(index))
    told = json.loads((copy / "softpoint.json").read_text())
    told["samples"]["train"] = 1
    (copy / "softpoint.json").write_text(json.dumps(told))
    with pytest.raises(ValueError, match=r"sample 0 of .*train/chunk-0-0.bin cannot be used: its keypoints are not"):
        opened(copy).sources["train"].load(0, 0)
    assert not mark.exists()


@pytest.mark.parametrize("formats", [["bytes"], ["graph:pickle"], [], ["bytes"] * 8])
def test_other_fields_are_refused(formats: list[str]) -> None:
    with pytest.raises(ValueError, match="stores fields as"):
        read_index(json.dumps({"chunks": [], "config": {"data_format": formats}}).encode(), "index.json")


@pytest.fixture(scope="module")
def item(packed: Path) -> bytes:
    files, description = open_files(str(packed), None, 0)
    shards = Shards(files, "val", description)
    data = shards.fetch(0).read_bytes()
    begin, end = np.frombuffer(data, "<u4", 2, 4)
    return data[begin:end]


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_changed_bytes_are_data_or_one_error(item: bytes, data: st.DataObject) -> None:
    changed = bytearray(item)
    for _ in range(data.draw(st.integers(1, 4))):
        fields = data.draw(st.sampled_from([(0, 32), (len(item) - 260, len(item)), (0, len(item))]))
        changed[data.draw(st.integers(fields[0], fields[1] - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([len(item), data.draw(st.integers(0, len(item)))]))
    try:
        sample = parse(bytes(changed[:cut]), len(NAMES))
    except ValueError:
        return
    assert sample.keypoints.shape == (4, 2) and sample.visibility.shape == (4,) and sample.box.shape == (4,)
    assert np.array_equal(sample.visibility > 0, np.isfinite(sample.keypoints).all(-1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"box": np.array([0, 0, 5, np.nan])}, r"its box is \[0.0, 0.0, 5.0, nan\]"),
        ({"box": np.array([np.nan, 0, 5, 5])}, r"its box is"),
        ({"box": np.array([0, 5, 5, 5])}, r"its box is"),
        ({"box": np.array([0, 0, 5, 1e300])}, r"its box is"),
        ({"size": (0, 9)}, r"its height and width are 0 and 9"),
        ({"size": (9, 1 << 40)}, r"its height and width are 9 and 1099511627776"),
        ({"scale": 0.0}, r"its scale 0.0"),
        ({"scale": float("nan")}, r"its scale nan"),
        ({"visibility": np.array([2, 3])}, r"the visibility of its point \(3, 4\) is 3"),
        ({"visibility": np.array([2, 0])}, r"the visibility of its point \(3, 4\) is 0"),
        ({"keypoints": np.array([[1, 2], [np.nan, 4]])}, r"the visibility of its point \(nan, 4\) is 1"),
        ({"keypoints": np.array([[1, 2], [9.5, 4]])}, r"its point \(9.5, 4\) lies outside its 9 x 8 pixels"),
    ],
)
def test_what_contradicts_itself_is_refused(change: dict[str, Any], message: str) -> None:
    points = np.array([[1.0, 2.0], [3.0, 4.0]])
    fair = Sample(b"", points, np.array([2, 1]), np.array([0.5, 1.5, 4, 5]), (8, 9), 5.0, "", "")
    validate(fair)
    validate(fair._replace(box=np.full(4, np.nan), visibility=np.array([2, -1]), keypoints=points * [[1], [np.nan]]))
    with pytest.raises(ValueError, match=message):
        validate(fair._replace(**change))


def test_an_image_of_another_size_or_none_is_one_error(copy: Path) -> None:
    shards = opened(copy).shards["val"]
    path = shards.fetch(0)
    data = bytearray(path.read_bytes())
    begin = int(np.frombuffer(data, "<u4", 1, 4)[0]) + 32
    data[begin : begin + 4] = b"nope"
    path.write_bytes(data)
    source = opened(copy).sources["val"]
    with pytest.raises(ValueError, match=r"sample 0 of .*val/chunk-0-0.bin cannot be used: .*video\d/img\d\d.png"):
        source.load(0, 0)
    assert source.load(0, 1).image.size


def test_mistakes_are_explained(packed: Path, labeled: LabeledData, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data.window=0 must be at least 1"):
        opened(packed, window=0)
    with pytest.raises(ValueError, match=r"output=.*set exists and is not an empty folder; name a new one"):
        pack(labeled.sources, packed, 1, 0, False)
    with pytest.raises(ValueError, match=r"chunk_mb=0 must be above 0"):
        pack(labeled.sources, tmp_path / "set", 0, 0, False)
    with pytest.raises(ValueError, match=r"output=s3://b/set is no folder of this machine"):
        pack(labeled.sources, "s3://b/set", 1, 0, False)


def test_a_description_returns_as_it_was(packed: Path) -> None:
    text = (packed / "softpoint.json").read_bytes()
    description = Description.loads(text, "here")
    assert description.dumps().encode() == text
    with pytest.raises(ValueError, match=r"here is of format 'softpoint' version 2, not 'softpoint' version 1"):
        Description.loads(text.replace(b'"version": 1', b'"version": 2'), "here")


@pytest.mark.parametrize("module", ["litdata.streaming", "litdata.streaming.downloader"])
def test_missing_litdata_is_explained(
    module: str, labeled: LabeledData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r'needs litdata: pip install -e "\.\[streaming\]"'):
        if module == "litdata.streaming":
            pack(labeled.sources, tmp_path / "set", 1, 0, False)
        else:
            opened("s3://bucket/set")
