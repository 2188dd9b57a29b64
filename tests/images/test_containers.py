"""Images in containers: frames of videos and packages of HDF5."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import struct
import sys
import tracemalloc
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from helpers.videos import bits, film, number_of
from softpoint.images import isolated
from softpoint.images.containers import Frame, find, page_names
from softpoint.images.decode import decoded, image_size, read_image
from softpoint.images.packages import _Rows, answered

h5py = pytest.importorskip("h5py")

LIMIT = 10_000
REPEATED = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("clip") / "clip.mp4", draw=bits)


def _child(paths: list[Path], numbers: list[int]) -> list[int]:
    return [
        number_of(find(path / f"{number:06}").decoded(LIMIT).pixels)
        for path, number in zip(paths, numbers, strict=True)
    ]


def test_forked_workers_read_for_themselves(clip: Path, tmp_path: Path) -> None:
    # More videos than stay open, so that workers close some which the parent opened.
    paths = [clip, *(Path(shutil.copy(clip, tmp_path / f"{number}.mp4")) for number in range(23))]
    numbers = list(range(24))
    assert _child(paths, numbers) == numbers
    with multiprocessing.get_context("fork").Pool(2) as pool:
        orders = [numbers[start:] + numbers[:start] for start in range(4)]
        results = [pool.apply_async(_child, (paths, order)) for order in orders]
        assert _child(paths[::-1], numbers) == numbers
        assert [result.get(60) for result in results] == orders


def test_a_missing_frame_is_named(clip: Path) -> None:
    with pytest.raises(ValueError, match=r"clip\.mp4 has no frame 24: it has 24, counted from 0"):
        find(clip / "000024").decoded(LIMIT)
    for name in ("a", "12.png", "-1", "1e3", "video0/3", "9" * 30, "²"):
        with pytest.raises(ValueError, match=r"named by numbers.*write clip.mp4/000012"):
            find(clip / name).size(LIMIT)
    with pytest.raises(ValueError, match="64 x 48; more than 1000 pixels"):
        find(clip / "0").size(1000)


def test_only_below_a_file(clip: Path) -> None:
    assert find(clip) is None and find(clip.parent / "missing/000001") is None and find(Path("\0/a")) is None
    assert find(clip / "a/b") == Frame(clip, "a/b")


def test_a_changed_file_is_opened_again(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 2, (32, 48))
    assert find(path / "0").size(LIMIT) == (32, 48)
    film(path, 2, (48, 64))
    assert find(path / "0").size(LIMIT) == (48, 64)


def test_images_are_opened_by_their_path(clip: Path) -> None:
    assert image_size(clip / "000005") == (48, 64)
    assert number_of(read_image(clip / "000005")) == 5


def test_missing_libraries_are_named(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "copy.mp4"
    path.write_bytes(clip.read_bytes())
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"copy.mp4 needs PyAV.*\[video\]"):
        find(path / "0").decoded(LIMIT)
    packed = tmp_path / "a.pkg.slp"
    packed.write_bytes(b"\x89HDF\r\n\x1a\n")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match=r"a.pkg.slp needs h5py.*\[sleap\]"):
        answered(str(packed), "video0", LIMIT, (0, 0), 0, "size")


@pytest.mark.parametrize("suffix", [".tif", ".gif", ".webp", ".png"])
def test_pages_of_an_image_file(tmp_path: Path, suffix: str) -> None:
    frames = [Image.fromarray(bits(number)) for number in range(20)]
    path = tmp_path / f"movie{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    names = page_names(path)
    assert names == [f"movie{suffix}/{number:06}" for number in range(20)]
    for number in random.Random(0).choices(range(20), k=30):
        assert number_of(read_image(tmp_path / names[number])) == number
    assert image_size(tmp_path / names[3]) == (48, 64)
    with pytest.raises(ValueError, match=r"has no page 20: it has 20, counted from 0"):
        read_image(path / "20")
    frames[0].save(path)
    assert page_names(path) == [path.name]


def test_the_thumbnail_of_a_tiff_is_no_page(tmp_path: Path) -> None:
    thumbnail = TiffImagePlugin.ImageFileDirectory_v2()
    thumbnail[254] = 1
    small = Image.new("L", (8, 6))
    small.encoderinfo = {"tiffinfo": thumbnail}
    Image.fromarray(bits(1)).save(tmp_path / "a.tif", save_all=True, append_images=[small])
    assert page_names(tmp_path / "a.tif") == ["a.tif"]


def test_pages_of_sixteen_bits(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((4, 4), value, np.uint16)) for value in (800, 1600)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert (read_image(tmp_path / "a.tif/1", bits=12) == 100).all()
    assert decoded(tmp_path / "a.tif/1").bits == 11  # of this page


def encoded(pixels: np.ndarray, kind: str = "PNG") -> np.ndarray:
    file = BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return np.frombuffer(file.getvalue(), np.int8)


COLORS = np.random.default_rng(0).integers(0, 255, (3, 6, 8, 3), np.uint8)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images kept in every way: of free length, padded to one, raw, and with red and blue exchanged."""
    path = tmp_path_factory.mktemp("package") / "all.pkg.slp"
    with h5py.File(path, "w") as file:
        images = [encoded(pixels) for pixels in COLORS]
        free = file.create_dataset("video0/video", (3,), h5py.vlen_dtype(np.int8))
        for row, image in enumerate(images):
            free[row] = image
        file["video0/frame_numbers"] = [40, 7, 12]
        padded = np.zeros((3, max(map(len, images))), np.int8)
        for row, image in enumerate(images):
            padded[row, : len(image)] = image
        file["video1/video"] = padded
        file["video1/video"].attrs["channel_order"] = "BGR"
        file["raw"] = COLORS
        file["gray"] = COLORS[..., :1]
        file["video2/video"] = np.zeros((3, 6, 8, 4), np.float32)
        file["video3/video"] = np.zeros((3, 9), np.int8)
        file["video4/other"] = 1
        deep = cv2.imencode(".png", COLORS[0].astype(np.uint16) << 4)[1]
        file["video5/video"] = deep.view(np.int8)[None]
    return path


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux bounds the memory of a process")
def test_an_image_that_claims_gigabytes_is_refused(package: Path, tmp_path: Path) -> None:
    data, length = package.read_bytes(), struct.pack("<I", len(encoded(COLORS[0])))
    place = data.index(length + struct.pack("<Q", data.index(b"GCOL")), data.index(length))  # and where it lies
    path = tmp_path / "a.pkg.slp"
    path.write_bytes(data[:place] + struct.pack("<I", 3_000_000_000) + data[place + 4 :])
    said = r"video0/000040 takes more than 1024 MiB of memory to decode; save it again as"
    with pytest.raises(ValueError, match=said):
        find(path / "video0/000040").decoded(LIMIT)
    assert not isolated._idle[os.getpid(), LIMIT]  # it may hold the memory still


def test_packed_images(package: Path) -> None:
    for row, number in enumerate((40, 7, 12)):
        np.testing.assert_array_equal(find(package / f"video0/{number:06d}").decoded(LIMIT).pixels, COLORS[row])
    for row in range(3):
        np.testing.assert_array_equal(find(package / f"video1/{row}").decoded(LIMIT).pixels, COLORS[row][..., ::-1])
        np.testing.assert_array_equal(find(package / f"raw/{row}").decoded(LIMIT).pixels, COLORS[row])
        np.testing.assert_array_equal(find(package / f"gray/{row}").decoded(LIMIT).pixels, COLORS[row][..., [0, 0, 0]])
    assert {find(package / f"{name}/12").size(LIMIT) for name in ("video0",)} == {(6, 8)}
    assert find(package / "raw/1").size(LIMIT) == find(package / "video1/1").size(LIMIT) == (6, 8)


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ("video0/8", "video0 has no image 8: it has 3, numbered from 7 to 40"),
        ("video9/0", "video9 does not exist; the file has video0, video1"),
        ("video5/0", "video5 has pixels of kind RGB of more than 8 bits; pack it with 8 bits per channel"),
        ("000000", "named by numbers"),
        ("video2/0", "holds float32 of shape"),
        ("video3/0", "cannot be decoded"),
        ("video4/0", "cannot be decoded"),
        ("raw/3", "raw has no image 3"),
    ],
)
def test_packed_images_that_are_not_there(package: Path, inside: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find(package / inside).decoded(LIMIT)
    with pytest.raises(ValueError, match=message):
        find(package / inside).size(LIMIT)


def test_other_files_are_not_read(package: Path, tmp_path: Path) -> None:
    path, secret = tmp_path / "evil.h5", tmp_path / "secret"
    secret.write_bytes(bytes(6 * 8 * 3))
    with h5py.File(path, "w") as file:
        file.create_dataset("outside", (1, 6, 8, 3), np.uint8, external=[(str(secret), 0, 144)])
        file["elsewhere"] = h5py.ExternalLink(str(package), "raw")
        layout = h5py.VirtualLayout((1, 6, 8, 3), np.uint8)
        layout[0] = h5py.VirtualSource(str(package), "raw", (3, 6, 8, 3))[0]
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("bomb", (1, 1 << 20, 1 << 20, 3), np.uint8, chunks=(1, 16, 16, 3))
    for name in ("outside", "elsewhere", "virtual"):
        with pytest.raises(ValueError, match="lies in another file"):
            find(path / f"{name}/0").decoded(LIMIT)
    with pytest.raises(ValueError, match="more than 10000 pixels"):
        find(path / "bomb/0").decoded(LIMIT)


def test_images_that_are_compressed_together_are_refused(tmp_path: Path) -> None:
    """One would take the memory of all."""
    path, shape = tmp_path / "a.pkg.slp", (64, 4000, 5000, 3)
    with h5py.File(path, "w") as file:
        file.create_dataset("raw", shape, np.uint8, chunks=shape, compression="gzip")
    with pytest.raises(ValueError, match=r"raw is stored in pieces of 3840000000 bytes; pack it again, one image in"):
        read_image(path / "raw/0")


def test_more_images_than_the_file_has_bytes_are_refused(tmp_path: Path) -> None:
    """A table of them would take gigabytes."""
    with h5py.File(tmp_path / "a.pkg.slp", "w") as file:
        file.create_dataset("video0/video", (7_000_000, 100), np.int8, chunks=(1000, 100))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"states 7000000 images, more than the file has bytes; copy it again"):
        answered(str(tmp_path / "a.pkg.slp"), "video0", LIMIT, (0, 0), 0, "size")
    assert tracemalloc.get_traced_memory()[1] < 2e6
    tracemalloc.stop()


def test_the_last_of_several_images_of_one_number_is_taken() -> None:
    numbers = np.random.default_rng(0).integers(0, 40, 60)
    rows, last = _Rows(60, numbers), {number: row for row, number in enumerate(numbers.tolist())}
    assert {number: rows.row(number) for number in last} == last
    assert [_Rows(3).row(number) for number in range(3)] == [0, 1, 2]
    for number in set(range(-1, 42)) - set(last):
        with pytest.raises(ValueError, match=rf"no image {number}: it has 60, numbered from {min(last)} to "):
            rows.row(number)


def test_images_that_sleap_packs_are_read(tmp_path: Path) -> None:
    sleap_io = pytest.importorskip("sleap_io")
    for number, pixels in enumerate(COLORS):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    video = sleap_io.Video.from_filename([str(tmp_path / f"{number}.png") for number in range(3)])
    skeleton = sleap_io.Skeleton(["a"])
    placed = sleap_io.Instance.from_numpy(np.array([[1.0, 2.0]]), skeleton=skeleton)
    frames = [sleap_io.LabeledFrame(video=video, frame_idx=number, instances=[placed]) for number in (0, 2)]
    path = tmp_path / "colors.pkg.slp"
    sleap_io.Labels(frames).save(str(path), embed=True, verbose=False)
    for number in (0, 2):
        np.testing.assert_array_equal(find(path / f"video0/{number}").decoded(LIMIT).pixels, COLORS[number])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[bytes, Path]]:
    folder = tmp_path_factory.mktemp("small")
    yield film(folder / "a.mp4", codec="mpeg4", g="6").read_bytes(), folder


@REPEATED
@given(data=st.data())
def test_damaged_videos(small: tuple[bytes, Path], data: st.DataObject) -> None:
    whole, folder = small
    path = folder / "damaged.mp4"
    path.write_bytes(damaged(whole, data))
    frame = find(path / str(data.draw(st.integers(0, 25))))
    try:
        assert frame.size(LIMIT) == frame.decoded(LIMIT).pixels.shape[:2]
    except ValueError as error:
        assert "damaged.mp4" in str(error)


def damaged(whole: bytes, data: st.DataObject) -> bytes:
    """The bytes with some of them changed, cut off or doubled, or other bytes."""
    if data.draw(st.integers(0, 9)) == 0:
        return data.draw(st.binary(max_size=300))
    changed = bytearray(whole)
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=9)):
        changed[place] = value
    start, stop = sorted(data.draw(st.tuples(st.integers(0, len(whole)), st.integers(0, len(whole)))))
    kind = data.draw(st.sampled_from(["keep", "cut", "remove", "double"]))
    pieces = {"keep": changed, "cut": changed[:stop], "remove": changed[:start] + changed[stop:]}
    return bytes(pieces.get(kind, changed[:stop] + changed[start:]))
