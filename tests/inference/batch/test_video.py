"""A labeled video shows every frame at its own time and size, with the points where they were predicted."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.videos import av, cut, film, gray, holed
from softpoint.images.video import Video
from softpoint.inference.batch import video
from softpoint.inference.batch.drawing import draw_rows
from softpoint.inference.batch.predictions import Row
from softpoint.inference.batch.video import write_video
from softpoint.labels.skeleton import Skeleton

LIMIT = 100_000


def rows(count: int) -> list[list[Row]]:
    """One point a frame, moving to the right."""
    frames = []
    for i in range(count):
        where = np.array([[8.0 + i, 20.0]])
        sure, covariance = np.array([0.9]), np.eye(2)[None]
        frames.append([Row(i, 0, True, i / 10, (48, 64), "", np.full(4, np.nan), where, sure, covariance, None)])
    return frames


def draw(image: np.ndarray, subjects: list[Row]) -> np.ndarray:
    return draw_rows(image, subjects, Skeleton(("nose",)))


def labeled(tmp_path: Path, source: Path, size: tuple[int, int] = (48, 64), **options: Any) -> tuple[Any, list[str]]:
    playback = Video(source, LIMIT)
    remarks = write_video(tmp_path / "labeled.mp4", playback, rows(100), options.get("draw", draw), size)
    return list(Video(tmp_path / "labeled.mp4", LIMIT).play()), remarks


@pytest.mark.parametrize(
    ("name", "unit", "options"),
    [
        ("a.mp4", Fraction(1, 16_000), {}),
        ("b.mkv", Fraction(1, 1000), {}),
        ("c.avi", Fraction(1, 10), {"codec": "mpeg4"}),
        ("d.mp4", Fraction(1, 1_000_000), {"format": "yuv444p"}),
        ("e.mp4", Fraction(1, 90_000), {"format": "gray"}),
    ],
)
def test_frames_keep_the_times_of_the_original(
    tmp_path: Path, name: str, unit: Fraction, options: dict[str, str]
) -> None:
    uneven = name != "c.avi"
    steps = np.cumsum([0, *[1, 3, 1, 2] * 6][:24]) if uneven else np.arange(24)
    source = film(tmp_path / name, times=(steps * int(Fraction(1, 10) / unit)).tolist(), unit=unit, **options)
    frames, remarks = labeled(tmp_path, source)
    assert remarks == [] and [frame.number for frame in frames] == list(range(24))
    np.testing.assert_allclose([frame.time for frame in frames], steps / 10, atol=1e-6)
    for frame in frames:
        assert frame.pixels.shape == (48, 64, 3)
        if options.get("format") != "gray":  # whose range of values no file states
            assert frame.pixels[-8:].mean() == pytest.approx(gray(frame.number), abs=4)
    with av.open(str(tmp_path / "labeled.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        if uneven:
            assert float(stream.average_rate) == pytest.approx(24 / (steps[-1] / 10), rel=0.1)
        else:
            assert stream.average_rate == 10


def test_points_are_where_they_were_predicted(tmp_path: Path) -> None:
    frames, _ = labeled(tmp_path, film(tmp_path / "a.mp4"))
    for frame in frames:
        orange = (frame.pixels[..., 0].astype(int) - frame.pixels[..., 2]).clip(0) ** 2
        place = (orange * np.arange(64)).sum() / orange.sum(), (orange.T * np.arange(48)).sum() / orange.sum()
        np.testing.assert_allclose(place, (8 + frame.number, 20), atol=0.7)


@pytest.mark.parametrize("size", [(47, 64), (48, 63), (31, 45)])
def test_an_odd_size_grows_by_a_copied_line(tmp_path: Path, size: tuple[int, int]) -> None:
    source = film(tmp_path / "odd.mkv", count=3, size=size, codec="ffv1", format="yuv444p")
    frames, remarks = labeled(tmp_path, source, size, draw=lambda image, _: np.full_like(image, 120))
    even = tuple(length + length % 2 for length in size)
    assert remarks == [f"{even[1]} x {even[0]} for {size[1]} x {size[0]}, as H.264 has even sizes only"]
    assert all(frame.pixels.shape == (*even, 3) and abs(frame.pixels.astype(int) - 120).max() < 4 for frame in frames)


def test_a_turned_video_is_written_upright_and_silent(tmp_path: Path) -> None:
    source = film(tmp_path / "turned.mp4", count=6, rotation=90, sound=True)
    frames, remarks = labeled(tmp_path, source, (64, 48))
    assert remarks == ["without its sound"] and frames[0].pixels.shape == (64, 48, 3) and len(frames) == 6
    with av.open(str(tmp_path / "labeled.mp4")) as container:
        assert not container.streams.audio and next(container.decode(video=0)).rotation == 0


def test_frames_that_cannot_be_decoded_are_black(tmp_path: Path) -> None:
    source = holed(tmp_path / "hole.mp4", film(tmp_path / "a.mp4", count=40, size=(96, 128), crf="1"))
    before = list(Video(source, LIMIT).play())
    frames, _ = labeled(tmp_path, source, (96, 128))
    assert [frame.time for frame in frames] == pytest.approx([frame.time for frame in before], abs=1e-6)
    for frame, old in zip(frames, before, strict=True):
        level = frame.pixels[-8:].mean()
        assert level < 3 if old.pixels is None else level == pytest.approx(old.pixels[-8:].mean(), abs=4)


def test_a_cut_video_and_one_of_one_frame(tmp_path: Path) -> None:
    whole = film(tmp_path / "a.mp4")
    source = cut(tmp_path / "cut.mp4", whole)
    assert len(labeled(tmp_path, source)[0]) == Video(source, LIMIT).count
    assert len(labeled(tmp_path, film(tmp_path / "one.mp4", count=1))[0]) == 1


def test_without_an_h264_encoder_another_is_used_with_a_remark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "_ENCODERS", ("none", "mpeg4"))
    source = film(tmp_path / "a.mp4", unit=Fraction(1, 1_000_000), times=range(0, 2_400_000, 100_000))
    frames, remarks = labeled(tmp_path, source)
    assert remarks == ["encoded as mpeg4, as no H.264 encoder is installed"] and len(frames) == 24
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(24) / 10, atol=1e-4)


def test_an_error_leaves_no_video(tmp_path: Path) -> None:
    def fail(image: np.ndarray, subjects: list[Row]) -> np.ndarray:
        raise ZeroDivisionError

    source = film(tmp_path / "a.mp4")
    with pytest.raises(ZeroDivisionError):
        labeled(tmp_path, source, draw=fail)
    assert list(tmp_path.iterdir()) == [source]


def test_drawing_copies_the_frame_and_skips_nan() -> None:
    image = np.full((48, 64, 3), 50, np.uint8)
    (row,) = rows(1)[0]
    drawn = draw_rows(image, [row], Skeleton(("nose",)), names=True, ellipses=True)
    assert drawn.shape == image.shape and (drawn != 50).any() and (image == 50).all()
    nowhere = row._replace(keypoints=np.full((1, 2), np.nan))
    assert (draw_rows(image, [nowhere], Skeleton(("nose",))) == 50).all()
    assert (draw_rows(image, [], Skeleton(("nose",)), scale=3) == 50).all()
