"""Images in containers: frames of videos and packages of HDF5."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from softpoint.images.containers import Frame, find
from softpoint.images.decode import image_size, read_image

av = pytest.importorskip("av")
h5py = pytest.importorskip("h5py")

LIMIT = 10_000
LEVELS = [10 + 9 * number for number in range(24)]
REPEATED = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def filmed(
    path: Path,
    codec: str = "libx264",
    times: Sequence[int] = range(24),
    size: tuple[int, int] = (32, 48),
    rotation: int = 0,
    **options: str,
) -> Path:
    """A video whose frame n is gray of LEVELS[n], shown at `times` in units of 0.1 s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.height, stream.width = size
        stream.bit_rate = 4_000_000
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "rgb8" if codec == "gif" else "yuv420p"
        if rotation and not hasattr(stream, "set_display_rotation"):
            pytest.skip("this version of PyAV writes no rotation mark")
        if rotation:
            stream.set_display_rotation(rotation)
        for level, time in zip(LEVELS, times, strict=True):
            pixels = np.full((*size, 3), level, np.uint8)
            pixels[: size[0] // 2, : size[1] // 2] = 255  # the upper left is white
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = time, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def level(pixels: np.ndarray) -> float:
    """The gray of the lower right corner."""
    return float(pixels[-8:, -8:].mean())


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """H.264 with frames out of order, several key frames and uneven times."""
    times = np.cumsum([0, *[1, 3, 1, 2] * 6][:24]).tolist()
    return filmed(tmp_path_factory.mktemp("clip") / "clip.mp4", times=times, g="7", bf="2")


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {"g": "5", "bf": "3"}),
        ("b.mkv", "libx264", {"g": "250", "bf": "0"}),
        ("c.avi", "mpeg4", {"g": "6", "bf": "2"}),
        ("d.avi", "mjpeg", {}),
        ("e.webm", "libvpx", {"g": "8", "auto-alt-ref": "1", "lag-in-frames": "8"}),
        ("f.webm", "libvpx-vp9", {"g": "8", "lag-in-frames": "8"}),
        ("g.gif", "gif", {}),
        ("h.ts", "libx264", {"g": "6", "bf": "2"}),
        ("i.h264", "libx264", {"g": "6", "bf": "2"}),
    ],
)
def test_every_frame_in_any_order(tmp_path: Path, name: str, codec: str, options: dict[str, str]) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this build of PyAV cannot write {codec}")
    path = filmed(tmp_path / name, codec, **options)
    order = random.Random(0).sample(range(24), 24)
    got = {number: find(path / f"{number:06d}").read(LIMIT) for number in order}
    np.testing.assert_allclose([level(got[number]) for number in range(24)], LEVELS, atol=4.2)
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            np.testing.assert_array_equal(got[number], frame.to_ndarray(format="rgb24"))
            np.testing.assert_array_equal(got[number], find(path / str(number)).read(LIMIT))


def test_uneven_times_and_threads(clip: Path) -> None:
    order = random.Random(1).choices(range(24), k=100)
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda number: level(find(clip / str(number)).read(LIMIT)), order))
    np.testing.assert_allclose(got, [LEVELS[number] for number in order], atol=3)


def test_pixels_are_those_of_decoding_in_order(data_root: Path) -> None:
    path = data_root / "keypoints/mirror-mouse/videos/test_vid.mp4"
    wanted = set(random.Random(2).sample(range(400), 4)) | {0, 249, 250}
    with av.open(str(path)) as container:
        frames = zip(range(401), container.decode(video=0), strict=False)
        in_order = {number: frame.to_ndarray(format="rgb24") for number, frame in frames if number in wanted}
    for number in random.Random(3).sample(sorted(wanted), len(wanted)):
        frame = find(path / f"{number:06d}")
        np.testing.assert_array_equal(frame.read(10**6), in_order[number])
        assert frame.size(10**6) == (406, 396)


def test_opencv_numbers_frames_alike(clip: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    capture = cv2.VideoCapture(str(clip))
    for number in range(24):
        seen = capture.read()[1][..., ::-1]
        assert np.abs(seen.astype(int) - find(clip / str(number)).read(LIMIT)).max() <= 2


def _child(paths: list[Path], numbers: list[int]) -> list[float]:
    return [level(find(path / str(number)).read(LIMIT)) for path, number in zip(paths, numbers, strict=True)]


def test_forked_workers_read_for_themselves(clip: Path, tmp_path: Path) -> None:
    # More videos than stay open, so that workers close some which the parent opened.
    paths = [clip, *(Path(shutil.copy(clip, tmp_path / f"{number}.mp4")) for number in range(23))]
    before = _child(paths, list(range(24)))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results = [pool.apply_async(_child, (paths, [(start + n) % 24 for n in range(24)])) for start in range(4)]
        here = _child(paths[::-1], list(range(24)))
        there = [result.get(60) for result in results]
    assert before == pytest.approx(LEVELS, abs=3) and here == pytest.approx(LEVELS, abs=3)
    np.testing.assert_allclose(there, [np.roll(LEVELS, -start) for start in range(4)], atol=3)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_frames_are_turned_upright(tmp_path: Path, rotation: int) -> None:
    path = filmed(tmp_path / "turned.mp4", rotation=rotation)
    frame = find(path / "000001")
    pixels = frame.read(LIMIT)
    assert pixels.shape[:2] == frame.size(LIMIT) == ((32, 48) if rotation == 180 else (48, 32))
    # Counter-clockwise, as the mark says: white goes from the upper left to the lower left and on.
    white = {90: (-4, 3), 180: (-4, -4), 270: (3, -4)}[rotation]
    assert pixels[white].min() > 240 and (pixels > 200).all(axis=2).mean() == pytest.approx(0.25, abs=0.02)


def test_a_missing_frame_is_named(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"clip\.mp4 has no frame 24: it has 24, counted from 0"):
        find(clip / "000024").read(LIMIT)
    for name in ("a", "12.png", "-1", "1e3", "video0/3", "9" * 30, "²"):
        with pytest.raises(ValueError, match=r"named by numbers.*write clip.mp4/000012"):
            find(clip / name).size(LIMIT)
    with pytest.raises(ValueError, match="48 x 32; more than 1000 pixels"):
        find(clip / "0").size(1000)
    counted = filmed(tmp_path / "g.gif", "gif")
    with pytest.raises(ValueError, match="no frame 99: it has 24"):
        find(counted / "99").read(LIMIT)
    (tmp_path / "text.mp4").write_text("#EXTM3U\nfile:///etc/hostname\n")
    with pytest.raises(ValueError, match=r"text.mp4 cannot be decoded"):
        find(tmp_path / "text.mp4/0").read(LIMIT)


def test_only_below_a_file(clip: Path) -> None:
    assert find(clip) is None and find(clip.parent / "missing/000001") is None and find(Path("\0/a")) is None
    assert find(clip / "a/b") == Frame(clip, "a/b")


def test_a_changed_file_is_opened_again(tmp_path: Path) -> None:
    path = filmed(tmp_path / "a.mp4")
    assert find(path / "0").size(LIMIT) == (32, 48)
    filmed(path, size=(48, 64))
    assert find(path / "0").size(LIMIT) == (48, 64)


def test_images_are_opened_by_their_path(clip: Path) -> None:
    assert image_size(clip / "000005") == (32, 48)
    assert level(read_image(clip / "000005")) == pytest.approx(LEVELS[5], abs=3)


def test_missing_libraries_are_named(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "copy.mp4"
    path.write_bytes(clip.read_bytes())
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"copy.mp4 needs PyAV.*\[video\]"):
        find(path / "0").read(LIMIT)
    packed = tmp_path / "a.pkg.slp"
    packed.write_bytes(b"\x89HDF\r\n\x1a\n")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match=r"a.pkg.slp needs h5py.*\[sleap\]"):
        find(packed / "video0/0").read(LIMIT)


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
    return path


def test_packed_images(package: Path) -> None:
    for row, number in enumerate((40, 7, 12)):
        np.testing.assert_array_equal(find(package / f"video0/{number:06d}").read(LIMIT), COLORS[row])
    for row in range(3):
        np.testing.assert_array_equal(find(package / f"video1/{row}").read(LIMIT), COLORS[row][..., ::-1])
        np.testing.assert_array_equal(find(package / f"raw/{row}").read(LIMIT), COLORS[row])
        np.testing.assert_array_equal(find(package / f"gray/{row}").read(LIMIT), COLORS[row][..., [0, 0, 0]])
    assert {find(package / f"{name}/12").size(LIMIT) for name in ("video0",)} == {(6, 8)}
    assert find(package / "raw/1").size(LIMIT) == find(package / "video1/1").size(LIMIT) == (6, 8)


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ("video0/8", "video0 has no image 8: it has 3, numbered from 7 to 40"),
        ("video9/0", "video9 does not exist; the file has video0, video1"),
        ("000000", "named by numbers"),
        ("video2/0", "holds float32 of shape"),
        ("video3/0", "cannot be decoded"),
        ("video4/0", "cannot be decoded"),
        ("raw/3", "raw has no image 3"),
    ],
)
def test_packed_images_that_are_not_there(package: Path, inside: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find(package / inside).read(LIMIT)
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
            find(path / f"{name}/0").read(LIMIT)
    with pytest.raises(ValueError, match="more than 10000 pixels"):
        find(path / "bomb/0").read(LIMIT)


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
        np.testing.assert_array_equal(find(path / f"video0/{number}").read(LIMIT), COLORS[number])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[bytes, Path]]:
    folder = tmp_path_factory.mktemp("small")
    yield filmed(folder / "a.mp4", "mpeg4", g="6").read_bytes(), folder


@REPEATED
@given(data=st.data())
def test_damaged_videos(small: tuple[bytes, Path], data: st.DataObject) -> None:
    whole, folder = small
    path = folder / "damaged.mp4"
    path.write_bytes(damaged(whole, data))
    frame = find(path / str(data.draw(st.integers(0, 25))))
    try:
        assert frame.size(LIMIT) == frame.read(LIMIT).shape[:2]
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
