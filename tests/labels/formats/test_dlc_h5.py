"""DeepLabCut's HDF5: the tables of pandas, read without pandas, and no object in them opened."""

from __future__ import annotations

import pickle
import struct
import tempfile
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.labels import FUZZ, assert_refused, assert_same, assert_valid_or_refused, written
from softpoint.labels.formats import dlc_h5, read_labels, recognize
from softpoint.labels.formats.parsing import hdf5

h5py = pytest.importorskip("h5py")

SINGLE = (
    "scorer,anna,anna,anna,anna\nbodyparts,nose,nose,left_ear,left_ear\ncoords,x,y,x,y\n"
    "labeled-data/v/1.png,1.5,2,3,4\nlabeled-data/v/2.png,,,5,6.25\nlabeled-data/v/3.png,,,,\n"
)
SEVERAL = (
    "scorer,anna,anna,anna,anna,anna,anna\nindividuals,m1,m1,m1,m1,m2,m2\nbodyparts,nose,nose,tail,tail,nose,nose\n"
    "coords,x,y,x,y,x,y\nlabeled-data/v/1.png,1,2,3,4,5,6\nlabeled-data/v/2.png,,,7,8,,\n"
)


@pytest.fixture(scope="session")
def frames(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the HDF5 files that pandas makes of CSVs, one per layout that DeepLabCut has written."""
    pandas, _ = pytest.importorskip("pandas"), pytest.importorskip("tables")
    folder, paths = tmp_path_factory.mktemp("frames"), {}
    for name, text, format, depth, rows in [
        ("table", SINGLE, "table", 3, 1),
        ("fixed", SINGLE, "fixed", 3, 1),
        ("fixed-path-in-three", SINGLE, "fixed", 3, 3),
        ("individuals", SEVERAL, "fixed", 4, 3),
        ("individuals-table", SEVERAL, "table", 4, 1),
    ]:
        path = written(folder, text, f"{name}.csv")
        frame = pandas.read_csv(path, header=list(range(depth)), index_col=0)
        if rows == 3:
            frame.index = pandas.MultiIndex.from_tuples([tuple(image.split("/")) for image in frame.index])
        paths[name] = path.with_suffix(".h5")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frame.to_hdf(paths[name], key="df_with_missing", format=format, mode="w")
    return paths


@pytest.mark.parametrize("name", ["table", "fixed", "fixed-path-in-three", "individuals", "individuals-table"])
def test_it_reads_the_same_as_its_csv(frames: dict[str, Path], name: str) -> None:
    path = frames[name]
    labels = read_labels(path)
    assert recognize(path) == "dlc_h5" and labels.places[0].startswith("row 1")
    assert_same(labels, read_labels(path.with_suffix(".csv")))


def test_a_real_file_agrees_with_its_csv(data_root: Path) -> None:
    file = data_root / "keypoints/dlc-openfield/labeled-data/m4s1/CollectedData_Pranav.h5"
    labels, csv = read_labels(file), read_labels(file.with_suffix(".csv"))
    assert labels.images == csv.images and labels.skeleton == csv.skeleton and labels.folder == csv.folder
    np.testing.assert_allclose(labels.keypoints, csv.keypoints, rtol=1e-12)


def test_more_texts_than_memory_holds_are_refused_unread(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("names", (2_000_000,), h5py.string_dtype())
        with pytest.raises(ValueError, match="its table names has 2000000 entries of any length; at most 1000000 are"):
            hdf5.part_of(file, "names")


def test_a_text_that_claims_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_group("df").attrs["pandas_type"] = np.bytes_("frame")
        file["df"].attrs["nblocks"] = "1" * 37
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", 37), struct.pack("<I", 3_000_000_000), 1))
    with pytest.raises(
        ValueError, match=r"a\.h5 cannot be read as DeepLabCut's table: .*its attribute nblocks has no fixed length"
    ):
        read_labels(path)


@pytest.mark.parametrize("kind", ["chunk", "zlib", "filter"])
def test_a_piece_that_unpacks_to_gigabytes_is_refused_unread(tmp_path: Path, kind: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        chunks, filters = (1 << 31 if kind == "chunk" else 100,), {"scaleoffset": 0} if kind == "filter" else {}
        filters |= {"compression": "gzip"} if kind == "zlib" else {}
        data = file.create_dataset("a", (100,), np.int8, chunks=chunks, maxshape=(None,), **filters)
        hdf5.check_pieces("a", file.create_dataset("b", data=np.zeros(100), compression="gzip", shuffle=True))
        if kind == "zlib":
            data.id.write_direct_chunk((0,), bytes(1 << 20))
        with pytest.raises(
            ValueError, match=r"its a is (stored in pieces that may take \d{10} bytes|compressed in an)"
        ):
            hdf5.check_pieces("a", data)


@pytest.mark.parametrize("part", ["block0_values", "axis1_label0"])
def test_a_small_file_of_a_huge_table_is_refused_unread(frames: dict[str, Path], tmp_path: Path, part: str) -> None:
    path = tmp_path / "huge.h5"
    path.write_bytes(frames["fixed-path-in-three"].read_bytes())
    with h5py.File(path, "r+") as file:
        del file["df_with_missing"][part]
        file["df_with_missing"].create_dataset(part, (100, 50_000), np.int8, fillvalue=1)
    tracemalloc.start()
    with pytest.raises(ValueError, match=rf"its {part} of shape \(100, 50000\) is too large for what the file holds"):
        read_labels(path)
    assert tracemalloc.get_traced_memory()[1] < 2e6
    tracemalloc.stop()


def test_numbers_are_bounded_as_floats(frames: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "huge.h5"
    path.write_bytes(frames["fixed"].read_bytes())
    with h5py.File(path, "r+") as file:
        del file["df_with_missing"]["block0_values"]
        data = file["df_with_missing"].create_dataset("block0_values", (200, 1 << 18), np.int8, chunks=(1, 1 << 18))
        data[:1] = 1
        assert data.size * 8 > dlc_h5._MAX_BYTES > data.nbytes < hdf5._MAX_RATIO * data.id.get_storage_size()
    with pytest.raises(ValueError, match=r"its arrays take \d+ bytes as floats"):
        read_labels(path)


def test_an_array_of_many_names_counts_for_each(frames: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "huge.h5"
    path.write_bytes(frames["fixed"].read_bytes())
    with h5py.File(path, "r+") as file:
        group = file["df_with_missing"]
        group["block1_values"] = group.create_dataset("block2_values", data=np.zeros(dlc_h5._MAX_BYTES // 16, np.int8))
    with pytest.raises(ValueError, match=r"its arrays take \d+ bytes as floats"):
        read_labels(path)


class Trap:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return Path.mkdir, (self.folder,)


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("where", ["names", "values", "attributes"])
def test_no_object_in_a_file_is_opened(frames: dict[str, Path], tmp_path: Path, where: str, protocol: int) -> None:
    trap = pickle.dumps([Trap(tmp_path / "sprung")], protocol)
    pickle.loads(trap)
    (tmp_path / "sprung").rmdir()  # the trap works
    path = tmp_path / "trap.h5"
    path.write_bytes(frames["fixed" if where == "values" else "table"].read_bytes())
    with h5py.File(path, "r+") as file:
        group = file["df_with_missing"]
        if where == "names":
            group["table"].attrs["values_block_0_kind"] = np.bytes_(trap)
        elif where == "values":
            del group["block0_values"]
            data = group.create_dataset("block0_values", (1,), h5py.vlen_dtype(np.uint8))
            data[0] = np.frombuffer(trap, np.uint8)
            data.attrs.update(CLASS=np.bytes_("VLARRAY"), PSEUDOATOM=np.bytes_("object"))
        else:  # that only pandas would open
            for name in ("CLASS", "TITLE", "info", "non_index_axes", "data_columns"):
                group.attrs[name] = np.bytes_(trap)
    if where == "attributes":
        assert len(read_labels(path)) == 3
    else:
        with pytest.raises(ValueError, match=r"trap.h5 cannot be read .*Python objects, which are never opened"):
            read_labels(path)
    assert not (tmp_path / "sprung").exists()


def test_only_text_is_unpickled() -> None:
    names = [("anna", "nose", "x"), ("anna", "nose", "y")]
    for protocol in range(6):
        assert dlc_h5._column_names(pickle.dumps(names, protocol)) == names
    for value in ([1], {"a": 1}, [("a", 1)], "abc", [["a"]], [np.float64(1)], [("a", print)]):
        for protocol in range(6):
            with pytest.raises(ValueError, match=r"never opened|not text"):
                dlc_h5._column_names(pickle.dumps(value, protocol))
    with pytest.raises(ValueError, match="never opened"):
        dlc_h5._column_names(b"(lp2000000000\n.")  # would take 32 GB for the memo


def changed(frames: dict[str, Path], tmp_path: Path, name: str, change) -> Path:
    path = tmp_path / "changed.h5"
    path.write_bytes(frames[name].read_bytes())
    with h5py.File(path, "r+") as file:
        change(file["df_with_missing"])
    return path


def replaced(name: str, value):
    def change(group) -> None:
        del group[name]
        group[name] = value

    return change


def filled(values):
    return lambda group: group["block0_values"].write_direct(np.full((3, 4), values))


def huge(group) -> None:
    del group["block0_values"]
    group.create_dataset("block0_values", (1 << 40, 4), "f8", chunks=(1024, 4))


def elsewhere(group) -> None:
    del group["block0_values"]
    group.create_dataset("block0_values", (3, 4), "f8", external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)])


CHANGES = {
    "half": ("fixed", filled([1, 2, 3, np.nan]), r"row 1: left_ear has x=3 and no y"),
    "infinite": ("fixed", filled(np.inf), r"row 1: nose has x=inf and y=inf"),
    "shape": ("fixed", replaced("block0_values", np.zeros((3, 5))), r"3 rows and 4 columns, but .*\(5, 3\)"),
    "text": ("fixed", replaced("block0_values", np.full((3, 4), b"a")), r"block 0 holds \|S1, not numbers"),
    "codes": ("fixed", replaced("block0_items_label1", np.array([0, 0, 7, 7])), r"cannot be read"),
    "coords": ("fixed", replaced("block0_items_level2", np.array([b"x", b"z"])), r"column 2 is named 'anna, nose, z'"),
    "huge": ("fixed", huge, r"its arrays take \d+ bytes as floats"),
    "missing": ("fixed", lambda g: g.pop("axis1"), r"cannot be read"),
    "link": ("fixed", replaced("block0_values", h5py.ExternalLink("other.h5", "/x")), r"or a link out of the file"),
    "elsewhere": ("fixed", elsewhere, r"is stored in another file"),
    "image": ("fixed", replaced("axis1", np.array([b"a", b"", b"c"])), r"row 2: image path \[''\] has an"),
    "twice": ("fixed", replaced("axis1", np.array([b"a", b"a", b"c"])), r"row 2: a is labeled in row 1 too"),
    "no-pandas": ("table", lambda g: g.attrs.pop("pandas_type"), r"holds no table of pandas"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "change", "message"), CHANGES.values(), ids=CHANGES)
def test_errors_name_file_place_and_value(
    frames: dict[str, Path], tmp_path: Path, name: str, change, message: str
) -> None:
    assert_refused(changed(frames, tmp_path, name, change), message)


def test_a_missing_library_is_named(frames: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ImportError, match=r'needs h5py: pip install "softpoint\[dlc\]"'):
        read_labels(frames["table"])


@FUZZ
@given(
    st.sampled_from(["table", "fixed", "individuals"]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), max_size=6),
    st.floats(0.2, 1),
)
def test_a_damaged_file_raises_only_value_errors(
    frames: dict[str, Path], name: str, changes: list[tuple[float, bytes]], kept: float
) -> None:
    content = bytearray(frames[name].read_bytes())
    used = 12_000  # beyond it a table has an empty index
    for position, piece in changes:
        start = int(position * min(used, len(content)))
        content[start : start + len(piece)] = piece
    content = content[: int(kept * len(content))] if kept < 0.9 else content
    with tempfile.TemporaryDirectory() as folder:
        assert_valid_or_refused(written(Path(folder), bytes(content), "labels.h5"), "dlc_h5")
