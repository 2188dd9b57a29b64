"""A stream is predicted frame by frame, and what ends it leaves complete files."""

from __future__ import annotations

import http.server
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from helpers.training import read_csv
from helpers.videos import film, gray, reading_brightness
from softpoint.images.live import Stream, _newest
from softpoint.images.video import Video, pyav
from softpoint.inference import load_predictor
from softpoint.inference.batch.live import _Recorder, predict_stream
from softpoint.inference.batch.options import PredictOptions
from softpoint.inference.batch.stream import Item
from softpoint.inference.finding import Finds
from softpoint.progress import track


@pytest.fixture
def predict(run: Path, tmp_path: Path) -> Any:
    """Predicts a stream; returns the line printed."""
    ckpt = run / "checkpoints" / "best.ckpt"
    predictor = reading_brightness(load_predictor(ckpt))

    def go(place: str, window: bool = False, finder: Any = None, **settings: Any) -> str:
        options = PredictOptions(**{"ckpt": ckpt, "batch_size": 16, **settings})
        return predict_stream(predictor, Stream(place), options, tmp_path / "out", window, track, finder)

    return go


@contextmanager
def served(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[int]:
    """The port of a server on this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The address of a server of the files in the test's folder."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *args: Any) -> None:
            pass

    with served(Handler) as port:
        yield f"http://me:secret@127.0.0.1:{port}"


def test_every_frame_of_a_video_at_an_address_is_predicted(predict: Any, address: str, tmp_path: Path) -> None:
    film(tmp_path / "a.mp4")
    frames = len(Video(tmp_path / "a.mp4", 10**6))
    assert predict(f"{address}/a.mp4", video=True, scale=2).startswith(f"{frames} frames: ")
    rows = read_csv(tmp_path / "out" / "predictions.csv")
    assert [int(row["frame"]) for row in rows] == list(range(frames))
    np.testing.assert_allclose([float(row["nose_x"]) for row in rows[:4]], [gray(i) for i in range(4)], atol=4)
    labeled = Video(tmp_path / "out" / "labeled.mp4", 10**6)
    assert len(labeled) == frames and labeled.size == (96, 128)
    assert "secret" not in (tmp_path / "out" / "job.json").read_text()


def test_the_subjects_of_each_frame_are_found(
    predict: Any, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame shows as many as its number, and one without any has an empty row and is recorded."""
    film(tmp_path / "clip.mp4", 3)
    counts = iter(range(3))

    def find(images: Any, batch_size: int) -> list[Finds]:
        count = next(counts)
        boxes = np.array([[8.0 * i, 0, 8 * i + 8, 8] for i in range(count)]).reshape(-1, 4)
        return [Finds(boxes, np.ones(count), np.linspace(0.9, 0.8, count))]

    monkeypatch.setattr("softpoint.inference.batch.stream.distinct_poses", lambda predictions, boxes: range(len(boxes)))
    line = predict(f"{address}/clip.mp4", finder=find, video=True)
    assert line.startswith("3 frames: ") or "after 3 frames" in line
    rows = read_csv(tmp_path / "out" / "predictions.csv")
    scores = [("0", ""), ("1", "0.9000"), ("2", "0.9000"), ("2", "0.8000")]
    assert [(row["frame"], row["score"]) for row in rows] == scores
    assert len(Video(tmp_path / "out" / "labeled.mp4", 10**6)) == 3


def test_a_stream_that_drops_leaves_its_frames(predict: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def three_frames(self: Stream, max_pixels: int) -> Iterator[tuple[float, np.ndarray]]:
        for number in range(3):
            yield float(number), np.zeros((48, 64, 3), np.uint8)
        raise ValueError("source=http://cam broke off (connection reset)")

    monkeypatch.setattr(Stream, "frames", three_frames)
    line = predict("http://cam", video=True)
    labeled = tmp_path / "out" / "labeled.mp4"
    assert line.startswith("the stream ended (source=http://cam broke off (connection reset)) after 3 frames: ")
    assert len(Video(labeled, 10**6)) == 3 == len(read_csv(tmp_path / "out" / "predictions.csv"))
    assert json.loads((tmp_path / "out" / "job.json").read_text())["frames"] == 3


def test_an_error_keeps_the_video_of_the_frames_before_it(tmp_path: Path) -> None:
    def fail() -> None:
        with closing(_Recorder(tmp_path / "a.mp4")) as recorder:
            recorder.write(Item(0, "0", 0.0, None, None), np.zeros((48, 64, 3), np.uint8))
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        fail()
    assert len(Video(tmp_path / "a.mp4", 10**6)) == 1


def test_a_redirect_to_another_port_is_not_followed(address: str, tmp_path: Path) -> None:
    class Redirect(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"{address}/a.mp4")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    film(tmp_path / "a.mp4")
    assert next(Stream(f"{address}/a.mp4").frames(10**6))[0] == 0
    with served(Redirect) as port, pytest.raises(ValueError, match=r"cannot be opened .*that it redirects to"):
        next(Stream(f"http://127.0.0.1:{port}/a.mp4").frames(10**6))


def test_an_address_needs_a_library_that_follows_no_redirect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pyav().library_versions, "libavformat", (62, 3, 100))
    with pytest.raises(ValueError, match=r"source=HTTP://cam needs PyAV 18 .*pip install -U av"):
        next(Stream("HTTP://cam").frames(10**6))


def test_playlists_and_missing_files_are_refused_without_the_password(
    predict: Any, address: str, tmp_path: Path
) -> None:
    film(tmp_path / "a.mp4")
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXTINF:1,\n{address}/a.mp4\n")
    (tmp_path / "concat.txt").write_text("ffconcat version 1.0\nfile a.mp4\n")
    for name in ("list.m3u8", "concat.txt", "nothing.mp4"):
        with pytest.raises(ValueError, match=rf"source=http://127.0.0.1:\d+/{name} cannot be opened") as error:
            predict(f"{address}/{name}")
        assert "secret" not in str(error.value)
    assert not (tmp_path / "out" / "predictions.csv").exists()


class Camera:
    """A camera that sends Ctrl-C, twice as some shells do, with its third frame."""

    def __init__(self, number: int) -> None:
        self.number, self.frames = number, 0

    def isOpened(self) -> bool:
        return self.number == 0

    def read(self) -> tuple[bool, np.ndarray]:
        self.frames += 1
        if self.frames == 3:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return self.frames < 10_000, np.full((48, 64, 3), (0, 0, 90), np.uint8)

    def release(self) -> None:
        pass


def test_ctrl_c_ends_a_camera_with_complete_files(
    predict: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    line = predict("0", video=True)
    rows = read_csv(tmp_path / "out" / "predictions.csv")
    count = json.loads((tmp_path / "out" / "job.json").read_text())["frames"]
    assert 1 <= len(rows) == count < 9_999 and line.startswith(f"{count} frames")
    np.testing.assert_allclose(float(rows[0]["nose_x"]), 30, atol=1)  # the mean of red, 90, and twice 0
    assert len(Video(tmp_path / "out" / "labeled.mp4", 10**6)) == count
    assert not (tmp_path / "out" / "predictions.partial").exists()
    with pytest.raises(ValueError, match="source=camera 3 cannot be opened: there is none of this number"):
        predict("3")


def test_frames_that_come_while_none_is_taken_are_left_out() -> None:
    read, taken = threading.Event(), threading.Event()

    def frames() -> Iterator[tuple[float, np.ndarray]]:
        for number in range(10):
            if number == 1:
                assert taken.wait(60)
            yield float(number), np.zeros(1)
        read.set()

    newest = _newest(frames())
    numbers = [next(newest)[0]]
    taken.set()
    assert read.wait(60)
    assert numbers + [number for number, _ in newest] == [0, 9]


def test_a_window_that_cannot_be_is_named_once_there_are_frames(
    predict: Any, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr("softpoint.progress._PAUSE", 0.0)
    film(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="cannot be opened"):
        predict(f"{address}/b.mp4", window=True)
    assert capsys.readouterr().out == ""
    predict(f"{address}/a.mp4", window=True)
    printed = capsys.readouterr()
    assert printed.out.startswith("no window (") and printed.out.count("\n") == 1
    assert "predicting http://127.0.0.1:" in printed.err and "secret" not in printed.err
