"""Frame n of a video is that of FFmpeg and OpenCV, in order and at random, also in damaged videos."""

from __future__ import annotations

import random
import struct
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import pairwise, product
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.videos import av, bits, copied, cut, film, gray, holed, number_of, packed
from softpoint.images.ffmpeg import upright
from softpoint.images.video import Video, VideoFrame

LIMIT = 100_000
COUNT = 40

# Shapes of groups of pictures, by codec.
_GROUPS: dict[str, dict[str, dict[str, str]]] = {
    "libx264": {
        "default": {"g": "250", "bf": "3"},
        "short": {"g": "7", "bf": "2"},
        "no_b": {"g": "12", "bf": "0"},
        "open": {"g": "10", "bf": "3", "x264-params": "open-gop=1:scenecut=0"},
        "refresh": {"x264-params": "intra-refresh=1:keyint=12:bframes=0"},
    },
    "mpeg4": {"one_b": {"g": "300", "bf": "1"}, "short": {"g": "6", "bf": "2"}, "no_b": {"g": "12", "bf": "0"}},
    "mpeg2video": {"b": {"g": "12", "bf": "2"}, "no_b": {"g": "12", "bf": "0"}},
    "libx265": {"open": {"x265-params": "keyint=10:bframes=3:open-gop=1:log-level=none"}},
    "libvpx": {"hidden": {"g": "16", "bf": "0", "auto-alt-ref": "1", "lag-in-frames": "16"}},
    "libvpx-vp9": {"hidden": {"g": "16", "bf": "0", "auto-alt-ref": "1", "lag-in-frames": "16"}},
}
_CONTAINERS = {
    "libx264": ("avi", "mp4", "mkv", "ts", "flv", "h264"),
    "mpeg4": ("avi", "mp4", "mkv", "ts"),
    "mpeg2video": ("mpg", "ts", "mkv"),
    "libx265": ("mp4", "mkv", "ts"),
    "libvpx": ("webm", "mkv"),
    "libvpx-vp9": ("webm", "mp4"),
}
_FILMS = [
    *((c, suffix, group) for c in _CONTAINERS for suffix, group in product(_CONTAINERS[c], _GROUPS[c])),
    *((codec, suffix, "") for codec, suffix in [
        ("mjpeg", "avi"), ("mjpeg", "mov"), ("ffv1", "mkv"), ("wmv2", "wmv"), ("flv", "flv"),
        ("libsvtav1", "mp4"), ("gif", "gif"), ("mpeg2video", "m2v"), ("ffv1", "nut"), ("libvpx-vp9", "ivf"),
        ("wrapped_avframe", "y4m"),
    ]),
]  # fmt: skip
_FORMATS = {"mjpeg": "yuvj420p", "gif": "rgb8"}


def numbered(path: Path, codec: str = "libx264", group: str = "", **options: str) -> Path:
    """A film of `COUNT` frames whose bits show their number."""
    if codec not in av.codecs_available:
        pytest.skip(f"this build of PyAV cannot write {codec}")
    options = options or _GROUPS.get(codec, {}).get(group, {"g": "12", "bf": "0"})
    return film(path, COUNT, codec=codec, format=_FORMATS.get(codec, "yuv420p"), draw=bits, **options)


def played(path: Path, start: int = 0) -> list[VideoFrame]:
    return list(Video(path, LIMIT).play(start))


def counted_by_opencv(path: Path) -> list[int]:
    capture, numbers = cv2.VideoCapture(str(path)), []
    while (frame := capture.read())[0]:
        numbers.append(number_of(frame[1]))
    return numbers


def levels(shown: list[VideoFrame]) -> list[float | None]:
    return [None if frame.pixels is None else float(frame.pixels.mean()) for frame in shown]


def assert_exact(path: Path, numbers: list[int]) -> list[VideoFrame]:
    """Frame n shows numbers[n], in order, from any start, and at random."""
    frames = played(path)
    assert [frame.number for frame in frames] == list(range(len(numbers)))
    assert [number_of(frame.pixels) for frame in frames] == numbers
    assert frames[0].time == 0 and all(first.time < second.time for first, second in pairwise(frames))
    video = Video(path, LIMIT)
    for number in random.Random(0).choices(range(len(numbers)), k=20):
        np.testing.assert_array_equal(video.read(number), frames[number].pixels)
    for start in (1, 17):
        for frame, expected in zip(video.play(start), frames[start:], strict=True):
            assert frame[:3] == expected[:3]
            np.testing.assert_array_equal(frame.pixels, expected.pixels)
    assert len(Video(path, LIMIT)) == len(video) == len(numbers)
    with pytest.raises(ValueError, match=f"has no frame {len(numbers)}: it has {len(numbers)}, counted from 0"):
        video.read(len(numbers))
    assert video.missing == ""
    return frames


@pytest.mark.parametrize(("codec", "suffix", "group"), _FILMS)
def test_every_frame_in_any_order(tmp_path: Path, codec: str, suffix: str, group: str) -> None:
    path = numbered(tmp_path / f"film.{suffix}", codec, group)
    assert_exact(path, list(range(COUNT)))
    if codec != "libsvtav1":  # which OpenCV does not decode
        assert counted_by_opencv(path) == list(range(COUNT))


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
@pytest.mark.parametrize(("codec", "group"), [("libx264", "default"), ("libx264", "open"), ("mpeg4", "short")])
def test_streams_copied_from_an_avi(tmp_path: Path, codec: str, group: str, suffix: str) -> None:
    """Their packets carry the order of decoding as times."""
    path = copied(tmp_path / f"copy.{suffix}", numbered(tmp_path / "film.avi", codec, group))
    assert_exact(path, counted_by_opencv(path))


def test_an_avi_whose_frames_last_many_ticks_is_whole(tmp_path: Path) -> None:
    path = copied(tmp_path / "copy.avi", numbered(tmp_path / "film.mp4", "mpeg4", "short"))
    assert_exact(path, list(range(COUNT)))
    with av.open(str(path)) as container:
        ticks = container.streams.video[0].frames
    assert ticks > COUNT
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", ticks), struct.pack("<I", ticks + ticks // COUNT)))
    assert "ends early" in Video(path, LIMIT).missing


@pytest.mark.parametrize("suffix", ["avi", "mkv", "mp4"])
@pytest.mark.parametrize("group", [8, 300])
def test_packed_mpeg4(tmp_path: Path, suffix: str, group: int) -> None:
    source = numbered(tmp_path / "film.avi", "mpeg4", g=str(group), bf="1")
    path = copied(tmp_path / f"copy.{suffix}", packed(tmp_path / "packed.avi", source))
    assert_exact(path, list(range(COUNT)))
    assert counted_by_opencv(path) == list(range(COUNT))


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
@pytest.mark.parametrize("group", ["short", "open", "refresh"])
def test_a_stream_that_begins_within_a_group(tmp_path: Path, group: str, suffix: str) -> None:
    source = numbered(tmp_path / f"film.{suffix}", "libx264", group)
    path = copied(tmp_path / f"cut.{suffix}", source, first=3)
    numbers = counted_by_opencv(path)
    if not numbers:
        pytest.skip("neither OpenCV nor PyAV finds a frame in it")
    assert 0 < numbers[0] <= 16
    assert_exact(path, numbers)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_uneven_times(tmp_path: Path, suffix: str) -> None:
    times = np.cumsum([0, *[1, 3, 1, 2] * 10][:COUNT])
    path = film(tmp_path / f"film.{suffix}", COUNT, times=times.tolist(), draw=bits)
    frames = assert_exact(path, list(range(COUNT)))
    np.testing.assert_allclose([frame.time for frame in frames], times / 10, atol=1e-9)


def test_frames_before_the_start_are_not_counted(tmp_path: Path) -> None:
    """An edit list starts at time 0, and frames before are only decoded for those that build on them."""
    path = film(tmp_path / "film.mp4", COUNT, times=range(-6, COUNT - 6), draw=bits, g="10")
    numbers = counted_by_opencv(path)
    assert numbers == list(range(6, COUNT))
    assert_exact(path, numbers)


def test_without_times_in_the_file_the_rate_gives_them(tmp_path: Path) -> None:
    for name in ("raw.h264", "b.avi"):
        video = Video(film(tmp_path / name), LIMIT)
        assert video.count is None
        times = [frame.time for frame in video.play()]
        np.testing.assert_allclose(times, np.arange(24) / float(video.rate), atol=1e-9)


def test_the_marks_of_an_avi_are_where_its_labels_are(data_root: Path) -> None:
    """H.264 with B-frames; the labels are those of the single frames that the film was made of."""
    rows = (data_root / "cases/video/labels.csv").read_text().split()[1:]
    video = Video(data_root / "cases/video/h264_default.avi", 10**6)
    for number in random.Random(0).sample(range(len(video)), len(video)):
        red, _, blue = np.moveaxis(video.read(number).astype(int), 2, 0)
        y, x = np.argwhere(red - blue > 60).mean(0)
        _, expected_x, expected_y = rows[number].split(",")
        assert (x, y) == pytest.approx((float(expected_x), float(expected_y)), abs=0.5)


@pytest.mark.parametrize("name", ["mirror-mouse/videos/test_vid.mp4", "dlc-openfield/videos/m3v1mp4.mp4"])
def test_frames_of_a_long_video_are_those_of_decoding_in_order(data_root: Path, name: str) -> None:
    """The header of the second lacks parameters that its first frame brings."""
    path = data_root / "keypoints" / name
    wanted = {*random.Random(2).sample(range(400), 4), 0, 249, 250}
    with av.open(str(path)) as container:
        frames = zip(range(401), container.decode(video=0), strict=False)
        in_order = {number: frame.to_ndarray(format="rgb24") for number, frame in frames if number in wanted}
    video = Video(path, 10**6)
    for number in random.Random(3).sample(sorted(wanted), len(wanted)):
        np.testing.assert_array_equal(video.read(number), in_order[number])


@pytest.mark.parametrize("name", ["a.mp4", "b.mkv", "c.ts"])
def test_a_damaged_part_leaves_other_frames_their_number(tmp_path: Path, name: str) -> None:
    whole = film(tmp_path / f"whole_{name}", count=40, size=(96, 128), crf="1")
    frames = played(holed(tmp_path / name, whole))
    lost = [frame.number for frame in frames if frame.pixels is None]
    assert [frame.number for frame in frames] == list(range(len(frames))) and lost
    assert all("cannot be decoded" in frames[number].error for number in lost)
    for frame in frames:
        if frame.pixels is not None and (frame.number < lost[0] or frame.number > lost[-1]):
            # By their times, which a container that loses whole packets keeps.
            assert frame.pixels.mean() == pytest.approx(gray(round(frame.time * 10)), abs=4)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"), ("b.mkv", "libx264"), ("c.ts", "libx264"), ("d.avi", "libx264"), ("e.avi", "mpeg4"),
        ("f.mp4", "mpeg4"), ("g.webm", "libvpx-vp9"), ("h.mpg", "mpeg2video"),
    ],
)  # fmt: skip
def test_damaged_videos_are_read_alike_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, codec: str
) -> None:
    monkeypatch.setattr("softpoint.images.video._THREADS", 1)  # those of FFmpeg mark some damaged frames by chance
    whole = film(tmp_path / f"whole_{name}", 40, (96, 128), codec=codec, **{"bf": "0"} if "vpx" in codec else {})
    video = Video(holed(tmp_path / name, whole), LIMIT)
    frames = list(video.play())
    # Matroska's reader goes on at the next sound packet and mentions nothing.
    assert any(frame.error for frame in frames) or video.missing or name.endswith(("mkv", "webm"))
    for number in random.Random(0).choices(range(len(frames)), k=60):
        if (expected := frames[number].pixels) is None:
            with pytest.raises(ValueError, match=f"{name} frame {number} cannot be decoded"):
                video.read(number)
        else:
            np.testing.assert_array_equal(video.read(number), expected)


def test_the_rest_of_a_damaged_mjpeg_frame_is_not_that_of_another(tmp_path: Path) -> None:
    whole = numbered(tmp_path / "whole.mov", "mjpeg")
    with av.open(str(whole)) as source:
        sixth = [bytes(packet) for packet in source.demux(video=0) if packet.size][5]
    (tmp_path / "a.mov").write_bytes(whole.read_bytes().replace(sixth, sixth[:-30] + bytes(28) + sixth[-2:]))
    assert [frame.number for frame in played(tmp_path / "a.mov") if frame.error] == [5]
    with pytest.raises(ValueError, match="frame 5 cannot be decoded"):
        Video(tmp_path / "a.mov", LIMIT).read(5)


def test_a_frame_larger_than_the_file_states_is_refused_before_it_takes_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    monkeypatch.setattr(
        "softpoint.images.video.upright", lambda frame, limit: sizes.append(frame.width) or upright(frame, limit)
    )
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for number, scale in enumerate((1, 12)):
            packet = av.Packet(cv2.imencode(".jpg", np.zeros((48 * scale, 64 * scale, 3), np.uint8))[1].tobytes())
            packet.stream, packet.time_base = stream, Fraction(1, 10)
            packet.pts = packet.dts = number
            container.mux(packet)
    assert [frame.pixels is None for frame in Video(tmp_path / "a.avi", 768 * 576).play()] == [False, False]
    assert [frame.pixels is None for frame in Video(tmp_path / "a.avi", 768 * 576 - 1).play()] == [False, True]
    assert sizes == [64, 64, 768, 64, 64, 768]  # FFmpeg pads frames before it counts their pixels, and has some room
    assert [frame.pixels is None for frame in Video(tmp_path / "a.avi", 64 * 48).play()] == [False, True]
    assert sizes[6:] == [64, 64]


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "libvpx-vp9", "libx265"])
@pytest.mark.parametrize("size", [(66, 130), (18, 514)])
def test_a_frame_of_just_as_many_pixels_as_are_allowed_is_read(
    tmp_path: Path, codec: str, size: tuple[int, int]
) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this build of PyAV cannot write {codec}")
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = film(tmp_path / "a.mkv", 3, size, codec=codec, **options)
    assert all(frame.pixels is not None for frame in Video(path, size[0] * size[1]).play())


def test_a_truncated_video_is_reported(tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.mp4")
    video = Video(cut(tmp_path / "cut.mp4", clip), LIMIT)
    frames = list(video.play())
    assert 1 < len(frames) < 24 and "ends early" in video.missing and "of the 24" in video.missing
    whole = [frame for frame in frames if frame.pixels is not None]
    assert len(whole) > 3
    np.testing.assert_allclose(levels(whole), [gray(frame.number) for frame in whole], atol=4)
    assert Video(clip, LIMIT).missing == ""


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_frames_are_turned_upright(tmp_path: Path, rotation: int) -> None:
    """Counter-clockwise, as the mark says: what is white goes from the upper left to the lower left and on."""
    upper_left = np.pad(np.full((24, 32, 3), 255, np.uint8), ((0, 24), (0, 32), (0, 0)))
    video = Video(film(tmp_path / "turned.mp4", 2, rotation=rotation, draw=lambda _: upper_left), LIMIT)
    pixels = video.read(1)
    assert pixels.shape[:2] == video.size == ((48, 64) if rotation == 180 else (64, 48))
    white = {90: (-4, 3), 180: (-4, -4), 270: (3, -4)}[rotation]
    assert pixels[white].min() > 240 and (pixels > 200).all(axis=2).mean() == pytest.approx(0.25, abs=0.02)
    np.testing.assert_array_equal(pixels, list(video.play())[1].pixels)


def test_one_frame_and_odd_sizes(tmp_path: Path) -> None:
    path = film(tmp_path / "one.mkv", count=1, size=(31, 45), codec="ffv1", format="yuv444p")
    (frame,) = played(path)
    assert frame.pixels is not None and frame.pixels.shape == (31, 45, 3) and frame.time == 0


def test_a_file_that_is_no_video_is_refused(tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.mp4")
    (tmp_path / "text.mp4").write_text("#EXTM3U\nfile:///etc/hostname\n")
    with pytest.raises(ValueError, match=r"video .*text.mp4 cannot be decoded"):
        Video(tmp_path / "text.mp4", LIMIT)
    with pytest.raises(ValueError, match="64 x 48; more than 1000 pixels are refused"):
        Video(clip, 1000)
    with pytest.raises(ValueError, match=r"head.mp4"):
        Video(cut(tmp_path / "head.mp4", clip, 0.02), LIMIT)


def test_readers_do_not_affect_each_other(tmp_path: Path) -> None:
    video = Video(numbered(tmp_path / "clip.mp4"), LIMIT)
    first = video.play()
    next(first)
    assert [frame.number for frame in video.play(36)] == [36, 37, 38, 39]
    assert next(first).number == 1
    first.close()
    order = random.Random(1).choices(range(COUNT), k=100)
    with ThreadPoolExecutor(4) as pool:
        assert [number_of(pixels) for pixels in pool.map(video.read, order)] == order


def test_a_sound_track_is_detected(tmp_path: Path) -> None:
    assert Video(film(tmp_path / "loud.mp4", count=3, sound=True), LIMIT).sound
    silent = Video(film(tmp_path / "silent.mp4", count=3), LIMIT)
    assert not silent.sound and silent.time_base < Fraction(1, 10)


@pytest.mark.parametrize(("name", "codec"), [("clip.mp4", "libx264"), ("clip.avi", "mpeg4")])
def test_any_damage_gives_frames_or_one_error(tmp_path: Path, name: str, codec: str) -> None:
    rng, path = np.random.default_rng(0), tmp_path / f"damaged_{name}"
    whole = film(tmp_path / name, codec=codec).read_bytes()
    for _ in range(40):
        changed = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 30)):
            changed[place] = rng.integers(0, 256)
        path.write_bytes(changed[: len(changed) if rng.random() < 0.5 else rng.integers(len(changed))])
        try:
            video = Video(path, LIMIT)
            frames = list(video.play())
        except ValueError as error:
            assert path.name in str(error)
            continue
        assert [frame.number for frame in frames] == list(range(len(frames)))
        assert video.count in (None, len(frames))
        assert all((frame.pixels is None) == bool(frame.error) for frame in frames)
        for number in range(len(frames) + 1):
            try:
                assert video.read(number).shape[:2] == video.size
            except ValueError as error:
                assert path.name in str(error)
