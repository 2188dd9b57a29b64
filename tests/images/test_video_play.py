"""Playback keeps the number of every frame, also in damaged videos."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from helpers.videos import av, cut, film, gray, holed
from softpoint.images.video_play import Playback, VideoFrame
from softpoint.images.video_seek import Video

LIMIT = 100_000


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """H.264 with frames out of order and uneven times."""
    times = np.cumsum([0, *[1, 3, 1, 2] * 6][:24]).tolist()
    return film(tmp_path_factory.mktemp("clip") / "clip.mp4", times=times)


def played(path: Path, start: int = 0) -> list[VideoFrame]:
    return list(Playback(path, LIMIT).play(start))


def levels(shown: list[VideoFrame]) -> list[float | None]:
    return [None if frame.pixels is None else float(frame.pixels.mean()) for frame in shown]


@pytest.mark.parametrize(
    ("name", "codec", "format"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("b.mkv", "libx264", "gray"),
        ("c.avi", "mpeg4", "yuv420p"),
        ("d.ts", "libx264", "yuv444p"),
        ("e.webm", "libvpx", "yuv420p"),
        ("f.h264", "libx264", "yuv420p"),
    ],
)
def test_frames_equal_those_read_by_number(tmp_path: Path, name: str, codec: str, format: str) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this build of PyAV cannot write {codec}")
    path = film(tmp_path / name, codec=codec, format=format, **({"bf": "0"} if codec == "libvpx" else {}))
    video = Video(path, LIMIT)
    for start in (0, 1, 11, 23):
        frames = played(path, start)
        assert [frame.number for frame in frames] == list(range(start, 24))
        for frame in frames[:3]:
            np.testing.assert_array_equal(frame.pixels, video.read(frame.number))
    if format != "gray":  # whose range of values no file states
        np.testing.assert_allclose(levels(played(path)), [gray(n) for n in range(24)], atol=4)
    assert Playback(path, LIMIT).count in (None, 24)


def test_times_are_those_of_the_file(clip: Path) -> None:
    expected = np.cumsum([0, *[1, 3, 1, 2] * 6][:24]) / 10
    np.testing.assert_allclose([frame.time for frame in played(clip)], expected, atol=1e-9)
    np.testing.assert_allclose([frame.time for frame in played(clip, 9)], expected[9:], atol=1e-9)


def test_without_times_in_the_file_the_rate_gives_them(tmp_path: Path) -> None:
    path = film(tmp_path / "raw.h264")
    playback = Playback(path, LIMIT)
    assert playback.count is None
    np.testing.assert_allclose(
        [frame.time for frame in playback.play()], np.arange(24) / float(playback.rate), atol=1e-9
    )


@pytest.mark.parametrize("name", ["a.mp4", "b.mkv", "c.ts"])
def test_a_damaged_part_leaves_other_frames_their_number(tmp_path: Path, name: str) -> None:
    whole = film(tmp_path / f"whole_{name}", count=40, size=(96, 128), crf="1")
    frames = played(holed(tmp_path / name, whole))
    lost = [frame.number for frame in frames if frame.pixels is None]
    assert [frame.number for frame in frames] == list(range(len(frames))) and lost
    assert all("cannot be decoded" in frames[number].error for number in lost)
    # By their times, which a container that loses whole packets keeps.
    for frame in frames:
        if frame.pixels is not None and (frame.number < lost[0] or frame.number > lost[-1] + 16):
            assert frame.pixels.mean() == pytest.approx(gray(round(frame.time * 10)), abs=4)


def test_a_truncated_video_is_reported(clip: Path, tmp_path: Path) -> None:
    playback = Playback(cut(tmp_path / "cut.mp4", clip), LIMIT)
    frames = list(playback.play())
    assert 1 < len(frames) < 24 and "ends early" in playback.cut and "of the 24" in playback.cut
    whole = [frame for frame in frames if frame.pixels is not None]
    assert len(whole) > 3
    np.testing.assert_allclose(levels(whole), [gray(frame.number) for frame in whole], atol=4)
    assert Playback(clip, LIMIT).cut == ""


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_frames_are_turned_upright(tmp_path: Path, rotation: int) -> None:
    path = film(tmp_path / "turned.mp4", count=2, rotation=rotation)
    for frame in played(path):
        assert frame.pixels is not None and frame.pixels.shape == ((48, 64, 3) if rotation == 180 else (64, 48, 3))
        np.testing.assert_array_equal(frame.pixels, Video(path, LIMIT).read(frame.number))


def test_one_frame_and_odd_sizes(tmp_path: Path) -> None:
    path = film(tmp_path / "one.mkv", count=1, size=(31, 45), codec="ffv1", format="yuv444p")
    (frame,) = played(path)
    assert frame.pixels is not None and frame.pixels.shape == (31, 45, 3) and frame.time == 0


def test_a_file_that_is_no_video_is_refused(tmp_path: Path, clip: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(ValueError, match=r"video .*text.mp4 cannot be decoded"):
        Playback(tmp_path / "text.mp4", LIMIT)
    with pytest.raises(ValueError, match="64 x 48; more than 1000 pixels are refused"):
        Playback(clip, 1000)
    with pytest.raises(ValueError, match=r"head.mp4"):
        Playback(cut(tmp_path / "head.mp4", clip, 0.02), LIMIT)


def test_a_stopped_playback_does_not_affect_the_next(clip: Path) -> None:
    playback = Playback(clip, LIMIT)
    first = playback.play()
    next(first)
    assert [frame.number for frame in playback.play(20)] == [20, 21, 22, 23]
    assert next(first).number == 1
    first.close()


def test_a_sound_track_is_detected(tmp_path: Path, clip: Path) -> None:
    assert Playback(film(tmp_path / "loud.mp4", count=3, sound=True), LIMIT).sound
    assert not Playback(clip, LIMIT).sound and Playback(clip, LIMIT).time_base < Fraction(1, 10)


def test_any_damage_gives_frames_or_one_error(tmp_path: Path, clip: Path) -> None:
    rng, whole, path = np.random.default_rng(0), clip.read_bytes(), tmp_path / "damaged.mp4"
    for _ in range(40):
        changed = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 30)):
            changed[place] = rng.integers(0, 256)
        path.write_bytes(changed[: len(changed) if rng.random() < 0.5 else rng.integers(len(changed))])
        try:
            playback = Playback(path, LIMIT)
            frames = list(playback.play())
        except ValueError as error:
            assert "damaged.mp4" in str(error)
            continue
        assert [frame.number for frame in frames] == list(range(len(frames)))
        assert playback.count in (None, len(frames))
        assert all((frame.pixels is None) == bool(frame.error) for frame in frames)
