"""The predict command on videos: every file of each, in every form, and one line for every mistake."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from helpers.training import NAMES, read_csv
from helpers.videos import film
from softpoint.cli.predict import check_over_time
from softpoint.images.video import Video
from softpoint.inference import load_predictor, predict_video
from softpoint.inference.batch.sources import VideoSource


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of different sizes and an image's folder beside them."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "day1").mkdir()
    film(folder / "day1" / "a.mp4", count=7, sound=True)
    film(folder / "day1" / "b.mkv", count=5, size=(32, 80))
    return folder


@pytest.fixture
def ckpt(run: Path) -> str:
    return f"ckpt={run / 'checkpoints' / 'best.ckpt'}"


def test_every_file_of_a_video(ckpt: str, start: Callable, videos: Path, tmp_path: Path) -> None:
    for library in ("h5py", "sleap_io"):
        pytest.importorskip(library)
    out, source = tmp_path / "out", videos / "day1" / "a.mp4"
    words = ["formats=[coco,dlc_csv,dlc_h5,slp]", "video=true", "batch_size=3", "names=true", "ellipses=true"]
    ending = start("predict", ckpt, f"source={source}", f"output={out}", *words)
    assert ending.code == 0 and f"7 frames: {out / 'predictions.csv'}" in ending.out, ending.err
    assert "the video is without its sound" in ending.out
    assert sorted(path.name for path in out.iterdir()) == [
        "job.json", "labeled.mp4", "predictions.csv", "predictions.slp", "predictions_coco.json",
        "predictions_coco_images.json", "predictions_dlc.csv", "predictions_dlc.h5",
    ]  # fmt: skip
    predictor, rows = load_predictor(ckpt.removeprefix("ckpt=")), read_csv(out / "predictions.csv")
    for row, found in zip(rows, predict_video(predictor, source), strict=True):
        points = np.array([[float(row[f"{name}_{axis}"]) for axis in "xy"] for name in NAMES])
        np.testing.assert_allclose(points, found["keypoints"], atol=2e-3)
        assert float(row["time"]) == pytest.approx(float(found["time"]), abs=1e-6)


def test_one_folder_of_results_a_video(ckpt: str, start: Callable, videos: Path, tmp_path: Path) -> None:
    for source, places in [(videos, ("day1/a", "day1/b")), (videos / "*" / "?.m*", ("day1/a", "day1/b"))]:
        out = tmp_path / f"out{len(str(source))}"
        ending = start("predict", ckpt, f"source='{source}'", f"output={out}", "video=true")
        assert ending.code == 0, ending.err
        for place, count, size in zip(places, (7, 5), ((48, 64), (32, 80)), strict=True):
            assert [row["frame"] for row in read_csv(out / place / "predictions.csv")] == [str(i) for i in range(count)]
            shown = list(Video(out / place / "labeled.mp4", 10**6).play())
            assert len(shown) == count and shown[0].pixels is not None and shown[0].pixels.shape == (*size, 3)


def test_a_video_that_is_none_does_not_stop_the_others(
    ckpt: str, start: Callable, videos: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_text("hello")
    (tmp_path / "in" / "b.mkv").write_bytes((videos / "day1" / "b.mkv").read_bytes())
    words = [ckpt, f"source={tmp_path / 'in'}", f"output={tmp_path / 'out'}"]
    ending = start("predict", *words)
    assert ending.code == 1 and "1 of 2 sources cannot be predicted" in ending.err and "a.mp4 cannot be" in ending.err
    assert len(read_csv(tmp_path / "out" / "b" / "predictions.csv")) == 5
    assert start("predict", *words[:2], "on_error=error", f"output={tmp_path / 'out2'}").code == 1
    assert not (tmp_path / "out2" / "b").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["formats=cocoo"], "formats=['cocoo']: 'cocoo': did you mean 'coco'?"),
        (["tta=mirror"], "tta='mirror' is unknown"),
        (["max_pixels=100"], "a.mp4 is 64 x 48; more than 100 pixels are refused"),
        (["track=true"], "track=true: this model reads one subject in a whole frame"),
        (["track=true", "tracks.max_gap=-1"], "tracks.max_gap=-1 must be a whole number, 0 or more"),
        (["resume=true"], "is no file of an interrupted job of this version; remove it"),
    ],
)
def test_mistakes(ckpt: str, start: Callable, videos: Path, tmp_path: Path, words: list[str], said: str) -> None:
    (tmp_path / "out").mkdir()
    if words == ["resume=true"]:
        (tmp_path / "out" / "predictions.partial").write_text("hello")
    ending = start("predict", ckpt, f"source={videos / 'day1' / 'a.mp4'}", f"output={tmp_path / 'out'}", *words)
    assert ending.code == 1 and "Traceback" not in ending.err and said in ending.err
    assert not (tmp_path / "out" / "predictions.csv").exists()


def test_a_video_to_draw_in_must_be_there(ckpt: str, run: Path, start: Callable, tmp_path: Path) -> None:
    ending = start("predict", ckpt, f"source={run.parent / 'moved'}", f"output={tmp_path / 'out'}", "video=true")
    assert ending.code == 1 and "video=true: there is no video in source=" in ending.err
    ending = start("predict", ckpt, f"source={run.parent / 'moved'}", f"output={tmp_path / 'out'}", "track=true")
    assert ending.code == 1 and "track=true: there is no video in source=" in ending.err


def test_several_subjects_are_smoothed_along_their_tracks_alone() -> None:
    videos = [VideoSource(Path("a.mp4"), "a.mp4")]
    for smoothing in ("median", "kalman"):
        cfg = OmegaConf.create({"source": "a.mp4", "track": False, "smoothing": smoothing})
        with pytest.raises(
            ValueError, match=f"smoothing={smoothing}: a frame may have several subjects; add track=true"
        ):
            check_over_time(cfg, videos, several=True, of_boxes=False)
        check_over_time(cfg, videos, several=False, of_boxes=False)
        check_over_time(OmegaConf.merge(cfg, {"track": True}), videos, several=True, of_boxes=False)


@pytest.mark.parametrize(("library", "format", "extra"), [("h5py", "dlc_h5", "dlc"), ("sleap_io", "slp", "sleap")])
def test_a_missing_library_is_named_before_anything_is_predicted(
    ckpt: str, start: Callable, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    library: str, format: str, extra: str,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, library, None)
    words = [f"source={videos / 'day1' / 'a.mp4'}", f"output={tmp_path / 'out'}", f"formats=[{format}]"]
    ending = start("predict", ckpt, *words)
    assert ending.code == 1 and f'pip install "softpoint[{extra}]"' in ending.err and not (tmp_path / "out").exists()
