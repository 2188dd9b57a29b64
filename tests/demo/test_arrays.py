"""Arrays of anyone's files: read exactly, or refused with the file and the way out."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from softpoint.demo import as_batch, load_maps


class Trap:
    """An object that makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("sprung",)


def header(shape: str, dtype: str = "<f4", version: int = 1) -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2 if version == 1 else 4, "little") + text


def trapped(path: Path) -> None:
    objects = np.empty((2, 2), object)
    objects[0, 0] = Trap()
    np.save(path, objects, allow_pickle=True)


def saved(array: np.ndarray):
    return lambda path: np.save(path, array)


def content(data: bytes):
    return lambda path: path.write_bytes(data)


GOOD = {
    "float64": np.random.default_rng(0).normal(size=(4, 5)),
    "float16": np.ones((3, 4, 2), np.float16),
    "big-endian": np.arange(24, dtype=">i4").reshape(1, 2, 3, 4),
    "columns first": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "bool": np.eye(3, dtype=bool),
    "one cell": np.zeros((1, 1), np.uint8),
}
BAD = {
    "nan": (saved(np.array([[1, np.nan], [np.inf, 0]])), "has 2 of 4 values that are NaN, infinite or beyond float32"),
    "beyond float32": (saved(np.full((2, 2), 1e300)), "has 4 of 4 values"),
    "complex": (saved(np.ones((2, 2), complex)), "holds complex numbers, not real numbers; save array.astype"),
    "objects": (trapped, "holds Python objects"),
    "text": (saved(np.array([["a"]])), "holds text"),
    "bytes": (saved(np.array([[b"a"]])), "holds bytes"),
    "records": (saved(np.zeros((2, 2), [("a", "f4")])), "holds records"),
    "dates": (saved(np.zeros((2, 2), "datetime64[s]")), "holds values of datetime64"),
    "empty": (saved(np.zeros((0, 3))), r"is empty: its shape is \(0, 3\)"),
    "number": (saved(np.array(1.0)), "has 0 axes"),
    "one axis": (saved(np.zeros(3)), r"has 1 axes, \(3,\); maps are \(H, W\), \(H, W, C\) or \(N, H, W, C\)"),
    "five axes": (saved(np.zeros((1, 1, 1, 2, 2))), "has 5 axes"),
    "promised": (content(header("(1000, 1000)")), "holds fewer than the 4000000 bytes that its header promises"),
    "huge": (content(header("(100000, 100000)")), r"has 10000000000 values, \(100000, 100000\), more than 4000000"),
    "negative": (content(header("(-1, 4)") + bytes(16)), "is empty: its shape is"),
    "trailing": (content(header("(1, 1)") + bytes(5)), "holds more than the 4 bytes that its header promises"),
    "nested": (content(header("(" * 4000)), "is not a .npy file of numbers"),
    "version 2 of 4 GB": (content(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{"), "is not a .npy file of numbers"),
    "archive": (content(b"PK\x03\x04"), r"is not a .npy file of numbers; write one with numpy.save\(FILE, array\)"),
    "pickle": (content(pickle.dumps(Trap())), "is not a .npy file of numbers"),
    "nothing": (content(b""), "is not a .npy file of numbers"),
}


@pytest.mark.parametrize("name", GOOD)
def test_numbers_of_every_kind_are_read_as_float32(name: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", GOOD[name])
    maps = load_maps(tmp_path / "a.npy")
    assert maps.dtype == np.float32 and np.array_equal(maps, GOOD[name].astype(np.float32))


@pytest.mark.parametrize("name", BAD)
def test_other_files_are_refused_in_one_sentence(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write, message = BAD[name]
    write(tmp_path / "a.npy")
    with pytest.raises(ValueError, match=rf"a\.npy {message}") as refusal:
        load_maps(tmp_path / "a.npy")
    assert "\n" not in str(refusal.value) and not Path("sprung").exists()


def test_a_large_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        file.write(header("(2, 3)"))
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="holds more than the 24 bytes that its header promises"):
        load_maps(tmp_path / "a.npy")


def test_axes_are_told_apart_by_their_number() -> None:
    maps = np.arange(24.0, dtype=np.float32)
    assert np.array_equal(as_batch(maps.reshape(4, 6))[0, :, :, 0], maps.reshape(4, 6))
    assert np.array_equal(as_batch(maps.reshape(2, 3, 4))[0, :, :, 1], maps.reshape(2, 3, 4)[:, :, 1])
    assert as_batch(maps.reshape(1, 2, 3, 4)).shape == (1, 2, 3, 4)
