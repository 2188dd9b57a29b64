"""A packed set may come from a stranger: damaged or hostile, it is one clear error and never runs code."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.streaming import open_streamed
from helpers.training import NAMES
from softpoint.data import LabeledData
from softpoint.data.shards import reader
from softpoint.data.shards.packed_format import Description, PackedSample, parse, validate
from softpoint.data.shards.reader import check_index
from softpoint.data.shards.upload import local_folder
from softpoint.data.shards.writer import pack
from softpoint.labels.split import SPLITS

pytest.importorskip("litdata")

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*")


@pytest.fixture
def copy(packed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed, tmp_path / "set"))


def test_a_folder_without_a_set_is_an_error(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(
            FileNotFoundError, match=r"softpoint.json is missing; the folder is not a packed set, or its"
        ):
            open_streamed(folder)


@pytest.mark.parametrize("name", ["train/index.json", "val/chunk-0-0.bin"])
def test_a_missing_file_is_named_at_once(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing; copy the set again, or pack it again"):
        open_streamed(copy)


@pytest.mark.parametrize(("start", "cut"), [(b"", 1), (b"LDFZ01\0\0", 0)], ids=["truncated", "compressed"])
def test_another_shard_than_the_index_lists_is_named_at_once(copy: Path, start: bytes, cut: int) -> None:
    path = copy / "test" / "chunk-0-0.bin"
    content = path.read_bytes()
    path.write_bytes(start + content[len(start) : len(content) - cut])
    message = r"test/chunk-0-0.bin has \d+ samples in \d+ bytes, not \d+ in \d+; copy the set again"
    with pytest.raises(ValueError, match=message):
        open_streamed(copy)


@pytest.mark.parametrize("name", ["softpoint.json", "train/index.json"])
def test_a_description_truncated_anywhere_is_one_error(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    for length in range(0, len(content), 7):
        (copy / name).write_bytes(content[:length])
        with pytest.raises(ValueError, match=f"{name} is damaged.*copy the set again, or pack it again"):
            open_streamed(copy)


def test_a_missing_file_at_an_address_is_an_error(far: dict[str, Any], tmp_path: Path) -> None:
    data = open_streamed(**far)
    (tmp_path / "bucket" / "set" / "val" / "chunk-0-0.bin").unlink()
    with pytest.raises(
        ValueError, match=r"sample 0 of s3://bucket/set/val, in chunk-0-0.bin, cannot be read: .*chunk-0-0"
    ):
        data.sources["val"].load(0, 0)
    with pytest.raises(FileNotFoundError, match=r"softpoint.json cannot be downloaded \(.*\); check the address"):
        open_streamed(**far | {"folder": "s3://bucket/nowhere"})


def test_a_download_ends_at_the_bound(far: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    description = tmp_path / "bucket" / "set" / "softpoint.json"
    monkeypatch.setattr(reader, "_MAX_BYTES", description.stat().st_size)
    assert reader._download("s3://bucket/set", description.name) == description.read_bytes()
    description.write_bytes(description.read_bytes() + b" ")
    with pytest.raises(ValueError, match=r"set/softpoint.json has more than \d+ bytes, .*; copy the set again"):
        reader._download("s3://bucket/set", description.name)


def test_an_unknown_address_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data.folder=ftp://x is not supported; use a folder, or s3:// "):
        open_streamed("ftp://x")


def test_an_index_with_paths_or_sizes_out_of_bounds_is_refused(copy: Path) -> None:
    index = json.loads((copy / "val" / "index.json").read_text())
    for change in ({"filename": "../../x.bin"}, {"chunk_size": -1}, {"chunk_bytes": 10**30}, {"chunk_size": None}):
        changed = index | {"chunks": [index["chunks"][0] | change]}
        with pytest.raises(ValueError, match=r"index\.json is damaged"):
            check_index(json.dumps(changed).encode(), "index.json")
    spec = [1, {"type": "collections.defaultdict", "context": "[]", "children_spec": []}]
    for change in ({"data_spec": json.dumps(spec)}, {"compression": "zstd"}, {"encryption": "fernet"}):
        changed = index | {"config": index["config"] | change}
        with pytest.raises(ValueError, match=r"index\.json is damaged"):
            check_index(json.dumps(changed).encode(), "index.json")
    fewer = index | {"chunks": [index["chunks"][0] | {"chunk_size": 1}]}
    (copy / "val" / "index.json").write_text(json.dumps(fewer))
    with pytest.raises(ValueError, match=r"lists 1 samples, not \d+"):
        open_streamed(copy)


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def test_a_pickle_is_never_opened(copy: Path, tmp_path: Path) -> None:
    from litdata.streaming import Cache

    mark = tmp_path / "exploded"
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.exists()
    mark.unlink()
    expected = json.loads((copy / "train" / "index.json").read_text())["config"]
    shutil.rmtree(copy / "train")
    cache = Cache(str(copy / "train"), chunk_bytes=10_000)
    cache[0] = dict.fromkeys(("image", "label"), Bomb(mark))
    cache.done()
    cache.merge()
    with pytest.raises(
        ValueError, match=r"fields stored as \['pickle', 'pickle'\], of which others than bytes may run code"
    ):
        open_streamed(copy)
    assert not mark.exists()
    # An index that names other fields makes the bytes wrong, and still nothing unpickles them.
    index = json.loads((copy / "train" / "index.json").read_text())
    (copy / "train" / "index.json").write_text(json.dumps(index | {"config": expected}))
    description = json.loads((copy / "softpoint.json").read_text())
    description["samples"]["train"] = 1
    (copy / "softpoint.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match=r"sample 0 of .*/train, in chunk-0-0.bin, cannot be read: "):
        open_streamed(copy).sources["train"].load(0, 0)
    assert not mark.exists()


@pytest.fixture(scope="module")
def sample(packed: Path) -> PackedSample:
    return open_streamed(packed).sources["val"].shards.read(0)


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_a_changed_label_is_data_or_one_error(sample: PackedSample, data: st.DataObject) -> None:
    changed = bytearray(sample.label())
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([len(changed), data.draw(st.integers(0, len(changed)))]))
    try:
        parsed = parse(b"", bytes(changed[:cut]), len(NAMES))
    except ValueError:
        return
    assert parsed.keypoints.shape == (4, 2) and parsed.visibility.shape == (4,) and parsed.box.shape == (4,)
    assert np.array_equal(parsed.visibility > 0, np.isfinite(parsed.keypoints).all(-1))


@pytest.mark.parametrize(
    "change",
    [
        {"keypoints": [None]}, {"keypoints": [[1e999, 0]] * 4}, {"keypoints": [[float("nan"), 0]] * 4},
        {"keypoints": "nan"}, {"visibility": [2, 2, 2, 10**30]}, {"visibility": [[2]] * 4}, {"size": [64]},
        {"size": "ab"}, {"scale": None}, {"box": [1, 2, 3]}, {"box": {}},
    ],
)  # fmt: skip
def test_a_label_of_other_values_is_one_error(sample: PackedSample, change: dict[str, Any]) -> None:
    label = json.loads(sample.label())
    assert parse(b"", json.dumps(label).encode(), 4).label() == sample.label()
    with pytest.raises(ValueError, match=r"."):
        parse(b"", json.dumps(label | change).encode(), 4)


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
        ({"keypoints": np.array([[1, 2], [9.5, 4]])}, r"its point \(9.5, 4\) is outside its 9 x 8 pixels"),
    ],
)
def test_contradictions_are_refused(change: dict[str, Any], message: str) -> None:
    points = np.array([[1.0, 2.0], [3.0, 4.0]])
    fair = PackedSample(b"", points, np.array([2, 1]), np.array([0.5, 1.5, 4, 5]), (8, 9), 5.0, "", "")
    validate(fair)
    validate(fair._replace(box=np.full(4, np.nan), visibility=np.array([2, -1]), keypoints=points * [[1], [np.nan]]))
    with pytest.raises(ValueError, match=message):
        validate(fair._replace(**change))


def earlier(description: str) -> str:
    """Return the description of a set whose labels have no checksums, as an earlier version wrote it."""
    stored = json.loads(description)
    assert stored.pop("checksums") is True
    return json.dumps(stored)


def test_one_changed_bit_of_an_image_or_label_is_an_error_that_names_the_shard(copy: Path) -> None:
    shards = open_streamed(copy).sources["train"].shards
    index = len(shards) - 1
    path, sample = sorted((copy / "train").glob("*.bin"))[-1], shards.read(index)
    content = path.read_bytes()
    assert len(list(path.parent.glob("*.bin"))) > 1
    for part, offset in ((sample.image, -20), (sample.label(), 15), (b'"crc32"', 1)):  # the last one of each
        changed = bytearray(content)
        place = content.rindex(part[:-1]) + offset % len(part)
        changed[place] ^= 1
        path.write_bytes(changed)
        opened = open_streamed(copy).sources["train"]
        message = f"sample {index} of .*/train, in {path.name}, cannot be read: .*the checksum is not that of .*pack it"
        with pytest.raises(ValueError, match=message):
            opened.load(0, index)
        assert opened.load(0, 0).image.size


def test_a_set_of_an_earlier_version_stays_readable(labeled: LabeledData, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("softpoint.data.shards.writer.seal", lambda image, label: label)
        patch.setattr("softpoint.data.shards.reader.unseal", lambda image, label: label)
        pack(dict.fromkeys(SPLITS, labeled.sources["val"]), tmp_path / "set", 1, 0, False)
    file = tmp_path / "set" / "softpoint.json"
    file.write_text(earlier(file.read_text()))
    opened = open_streamed(tmp_path / "set").sources["val"]
    for index in range(len(opened)):
        assert np.array_equal(opened.load(0, index).image, labeled.sources["val"].load(0, index).image)


def test_a_damaged_image_is_one_error(copy: Path) -> None:
    (copy / "softpoint.json").write_text(earlier((copy / "softpoint.json").read_text()))
    path, sample = copy / "val" / "chunk-0-0.bin", open_streamed(copy).sources["val"].shards.read(0)
    path.write_bytes(path.read_bytes().replace(sample.image[:100], b"nope" + sample.image[4:100], 1))
    source = open_streamed(copy).sources["val"]
    with pytest.raises(
        ValueError, match=r"sample 0 of .*/val, in chunk-0-0.bin, cannot be read: .*video\d/img\d\d.png"
    ):
        source.load(0, 0)
    assert source.load(0, 1).image.size


def test_mistakes_are_explained(packed: Path, labeled: LabeledData, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"output=.*set exists and is not an empty folder; choose a new one"):
        pack(labeled.sources, packed, 1, 0, False)
    with pytest.raises(ValueError, match=r"chunk_mb=0 must be above 0"):
        pack(labeled.sources, tmp_path / "set", 0, 0, False)
    with local_folder("memory://taken/set") as folder:
        folder.mkdir()
        (folder / "softpoint.json").write_text("{}")
    with pytest.raises(ValueError, match=r"output=memory://taken/set holds a packed set already"):
        local_folder("memory://taken/set").__enter__()
    with pytest.raises(ValueError, match=r"output=nowhere://b/set cannot be written"):
        local_folder("nowhere://b/set").__enter__()


def test_a_description_of_an_earlier_version_asks_to_pack_again(packed: Path) -> None:
    text = (packed / "softpoint.json").read_bytes()
    description = Description.loads(text, "here")
    assert description.dumps().encode() == text
    with pytest.raises(ValueError, match=r"here has format 'softpoint' version 1, not 'softpoint' version 2 or 3;"):
        Description.loads(text.replace(b'"version": 2', b'"version": 1'), "here")


def test_missing_litdata_is_an_error_with_the_command_that_installs_it(
    labeled: LabeledData, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "litdata.streaming", None)
    for use in (
        lambda: pack(labeled.sources, tmp_path / "set", 1, 0, False),
        lambda: open_streamed("s3://bucket/set"),
        lambda: open_streamed(packed).sources["val"].load(0, 0),
    ):
        with pytest.raises(ImportError, match=r'need litdata: pip install "softpoint\[streaming\]"'):
            use()


def test_a_reply_that_breaks_off_is_requested_again(far: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    shards = open_streamed(**far).sources["val"].shards
    expected, broken = shards.read(1), [ConnectionResetError("reset")]

    class Once:
        def __getitem__(self, index: int) -> Any:
            if broken:
                raise broken.pop()
            return opened[index]

    pid, opened = shards._opened
    shards._opened = (pid, Once())
    monkeypatch.setattr(reader.time, "sleep", lambda seconds: None)
    assert shards.read(1).path == expected.path and not broken
