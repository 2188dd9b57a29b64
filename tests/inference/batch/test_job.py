"""A job writes what was predicted, goes on where it stopped, and leaves nothing half done."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.training import read_csv, spoil
from helpers.videos import bits, cut, film, gray, holed, number_of, reading_brightness
from softpoint.images.decode import read_image
from softpoint.images.video import Video
from softpoint.inference import Predictor, load_predictor
from softpoint.inference.batch import output_files
from softpoint.inference.batch.explanations import least_confident
from softpoint.inference.batch.job import Job
from softpoint.inference.batch.journal import Journal
from softpoint.inference.batch.options import PredictOptions
from softpoint.inference.batch.predictions import Row
from softpoint.inference.batch.sources import VideoSource, find_sources
from softpoint.labels.formats import read_labels
from softpoint.labels.plane import Plane
from softpoint.runtime import ellipse_axes
from softpoint.tracking import TrackOptions
from softpoint.viz import write_image

Boxes = dict[str, np.ndarray]


@pytest.fixture
def ckpt(run: Path) -> Path:
    return run / "checkpoints" / "best.ckpt"


@pytest.fixture
def predictor(ckpt: Path) -> Any:
    return reading_brightness(load_predictor(ckpt))


@pytest.fixture
def predict(predictor: Any, ckpt: Path, tmp_path: Path) -> Any:
    """Predicts sources as a command line does; returns the line printed per source."""

    def go(source: Path | str, boxes: Boxes | None = None, **settings: Any) -> list[str]:
        chosen = PredictOptions(**{"ckpt": ckpt, "batch_size": 4, **settings})
        work = Job(predictor, chosen, tmp_path / "out", boxes)
        return [work.run(item) for item in find_sources(str(source), tmp_path / "out")]

    return go


def levels(path: Path) -> list[float | None]:
    return [float(row["nose_x"]) if row["nose_x"] else None for row in read_csv(path)]


def images(folder: Path, count: int) -> Path:
    for i in range(count):
        write_image(folder / f"{i:02}.png", np.full((48, 64, 3), gray(i), np.uint8))
    return folder


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Interrupt the job after so many images."""
    append = Journal.append

    def stop(self: Journal, *words: Any) -> None:
        if self.next == after:
            raise KeyboardInterrupt
        append(self, *words)

    monkeypatch.setattr(Journal, "append", stop)


def test_row_k_is_frame_k(predict: Any, tmp_path: Path) -> None:
    steps = np.cumsum([0, *[1, 3, 1, 2] * 6][:24])
    (line,) = predict(film(tmp_path / "a.mp4", times=steps.tolist()), formats=("coco", "dlc_csv"), video=True)
    out = tmp_path / "out"
    assert line.startswith(f"24 frames: {out / 'predictions.csv'}, ") and str(out / "labeled.mp4") in line
    rows = read_csv(out / "predictions.csv")
    assert [row["frame"] for row in rows] == [str(i) for i in range(24)]
    np.testing.assert_allclose([float(row["time"]) for row in rows], steps / 10, atol=1e-6)
    np.testing.assert_allclose(levels(out / "predictions.csv"), [gray(i) for i in range(24)], atol=4)
    assert sorted(path.name for path in out.iterdir()) == [
        "job.json", "labeled.mp4", "predictions.csv", "predictions_coco.json", "predictions_coco_images.json",
        "predictions_dlc.csv",
    ]  # fmt: skip
    labels = read_labels(out / "predictions_dlc.csv")
    np.testing.assert_array_equal(labels.keypoints[:, 0, 0], levels(out / "predictions.csv"))


@pytest.mark.parametrize("after", [1, 4, 9, 23])
def test_a_resumed_video_has_the_same_files_as_an_uninterrupted_one(
    predict: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, after: int
) -> None:
    source, out = film(tmp_path / "a.mp4"), tmp_path / "out"
    predict(source, formats=("coco",))
    whole = {path.name: path.read_bytes() for path in out.iterdir()}
    for path in out.iterdir():
        path.unlink()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, after)
        predict(source, formats=("coco",))
    assert [path.name for path in out.iterdir()] == ["predictions.partial"]
    assert f"{after} frames are kept in {out / 'predictions.partial'}; output={out} resume=true" in caplog.text
    seen = []
    play = Video.play
    monkeypatch.setattr(Video, "play", lambda self, start=0: (seen.append(start), play(self, start))[1])
    predict(source, formats=("coco",), resume=True)
    assert seen == [after]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == whole


def test_an_interrupted_folder_is_resumed(predict: Any, predictor: Any, tmp_path: Path, monkeypatch: Any) -> None:
    source, out = images(tmp_path / "in", 10), tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, 6)
        predict(source, batch_size=1)
    before = predictor.net.seen
    predict(source, batch_size=1, resume=True)
    assert predictor.net.seen - before == 4
    np.testing.assert_allclose(levels(out / "predictions.csv"), [gray(i) for i in range(10)], atol=0.01)
    assert len(list((out / "images").iterdir())) == 10


def test_an_interruption_while_writing_predicts_nothing_again(
    predict: Any, predictor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = film(tmp_path / "a.mp4"), tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(output_files, "write_video", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        predict(source, video=True)
    assert [path.name for path in out.iterdir()] == ["predictions.partial"]
    before = predictor.net.seen
    predict(source, video=True, resume=True, threshold=0.9)  # what is drawn later may change
    assert predictor.net.seen == before and (out / "labeled.mp4").exists()


def test_finished_videos_are_not_predicted_again(
    predict: Any, predictor: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "in").mkdir()
    for name in "abc":
        film(tmp_path / "in" / f"{name}.mp4", count=6)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Job, "run", _interrupting(Job.run, patch))
        predict(tmp_path / "in")
    before = predictor.net.seen
    first, *_ = predict(tmp_path / "in", resume=True)
    assert "a.mp4 is complete" in first and predictor.net.seen - before == 3 + 6
    assert all((tmp_path / "out" / name / "predictions.csv").exists() for name in "abc")
    with pytest.raises(ValueError, match=r"job.json was started with tta=None, not tta='flip'"):
        predict(tmp_path / "in", resume=True, tta="flip")
    with pytest.raises(ValueError, match=r"job.json was started with formats=\[\], not formats=\['coco'\]"):
        predict(tmp_path / "in", resume=True, formats=("coco",))


def _interrupting(run: Any, patch: pytest.MonkeyPatch) -> Any:
    def go(self: Job, source: VideoSource) -> str:
        if source.name == "b.mp4":
            interrupt(patch, 3)
        return run(self, source)

    return go


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tta": "flip"}, "was started with tta=None, not tta='flip'"),
        ({"exif": "ignore"}, "was started with exif='apply', not exif='ignore'"),
        ({"ckpt": "last"}, "was started with ckpt="),
        ({"names": True}, "was started with images="),
        ({"source": "other"}, "was started with source="),
        ({"more": True}, "was started with content='8 images, .*', not content='9 images"),
        ({"drawn": True}, "content='(8 images, names .*, sizes and times of change ).*', not content='\\1"),
    ],
)
def test_resume_refuses_another_job(
    predict: Any, ckpt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    source = images(tmp_path / "in", 8)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, 5)
        predict(source)
    if change.pop("source", None):
        source = images(tmp_path / "other", 8)
    if change.pop("more", None):
        images(source, 9)
    if change.pop("drawn", None):
        write_image(source / "03.png", np.full((40, 60, 3), 7, np.uint8))
    if "ckpt" in change:
        change = {"ckpt": ckpt.with_name("last.ckpt")}
    with pytest.raises(ValueError, match=f"resume=true: .*{message}"):
        predict(source, resume=True, **change)
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_file()] == ["predictions.partial"]


def test_damaged_frames_have_empty_rows_and_a_warning(
    predict: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = holed(tmp_path / "hole.mp4", film(tmp_path / "whole.mp4", count=40, size=(96, 128), crf="1"))
    lost = [item.number for item in Video(source, 10**6).play() if item.pixels is None]
    (line,) = predict(source, formats=("coco", "dlc_csv"))
    out = tmp_path / "out"
    column = levels(out / "predictions.csv")
    assert len(column) == 40 and [i for i, level in enumerate(column) if level is None] == lost != []
    assert line.startswith(f"{40 - len(lost)} frames: ")
    assert f"{len(lost)} frames cannot be read, their rows are empty" in caplog.text
    assert f"hole.mp4/{lost[0]:06d}: cannot be decoded" in caplog.text
    assert len(json.loads((out / "job.json").read_text())["errors"]) == len(lost)
    assert len(json.loads((out / "predictions_coco.json").read_text())) == 40 - len(lost)
    with pytest.raises(ValueError, match=rf"hole.mp4 frame {lost[0]}: cannot be decoded.*on_error=skip"):
        predict(source, on_error="error")


def test_damaged_images_have_empty_rows_and_a_warning(predict: Any, tmp_path: Path, caplog: Any) -> None:
    source = images(tmp_path / "in", 5)
    spoil(source / "03.png")
    (line,) = predict(source, formats=("dlc_csv",))
    assert line.startswith("4 images: ") and "1 images cannot be read" in caplog.text
    assert [row["image"] for row in read_csv(tmp_path / "out" / "predictions.csv")] == [f"{i:02}.png" for i in range(5)]
    assert levels(tmp_path / "out" / "predictions.csv")[3] is None
    assert len(list((tmp_path / "out" / "images").iterdir())) == 4
    for path in source.iterdir():
        spoil(path)
    caplog.clear()
    with pytest.raises(ValueError, match=r"none of the 5 images in source=.*in could be read"):
        predict(source)
    assert "are kept in" not in caplog.text and not (tmp_path / "out" / "predictions.partial").exists()


def test_a_truncated_video_is_warned_of(predict: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = cut(tmp_path / "cut.mp4", film(tmp_path / "whole.mp4"))
    predict(source)
    assert "ends early" in caplog.text
    assert len(levels(tmp_path / "out" / "predictions.csv")) == Video(source, 10**6).count


def test_points_below_the_threshold_are_not_drawn_and_dropped_on_request(predict: Any, tmp_path: Path) -> None:
    """The network is sure of its four keypoints by 0.1, 0.37, 0.63 and 0.9."""
    source, out = images(tmp_path / "in", 1), tmp_path / "out"
    drawn = []
    for threshold in (0.0, 0.5, 1.0):
        predict(source, threshold=threshold)
        drawn.append(read_image(out / "images" / "00.jpg").astype(int))
        assert all(read_csv(out / "predictions.csv")[0].values())
    changed = [(abs(image - gray(0)) > 25).any(2).sum() for image in drawn]
    assert changed[0] > changed[1] > 0 and changed[2] == 0
    predict(source, threshold=0.5, drop_below_threshold=True, formats=("coco",))
    (row,) = read_csv(out / "predictions.csv")
    assert [bool(row[f"{name}_x"]) for name in ("nose", "left_ear", "right_ear", "tail")] == [False, False, True, True]
    assert all(row[f"{name}_confidence"] for name in ("nose", "left_ear", "right_ear", "tail"))
    assert json.loads((out / "predictions_coco.json").read_text())[0]["keypoints"][:6] == [0.0] * 6


def test_smoothing_is_for_videos_and_off_by_default(predict: Any, tmp_path: Path) -> None:
    source, out = film(tmp_path / "a.mp4"), tmp_path / "out"
    predict(source)
    raw = np.array(levels(out / "predictions.csv"))
    predict(source, smoothing="median", smoothing_window=3)
    expected = [raw[0], *np.median([raw[:-2], raw[1:-1], raw[2:]], axis=0), raw[-1]]
    np.testing.assert_allclose(levels(out / "predictions.csv"), expected, atol=2e-3)


def test_each_box_has_a_row_and_every_frame_at_least_one(predict: Any, tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", count=5)
    left, right = [-0.5, -0.5, 31.5, 47.5], [31.5, -0.5, 63.5, 47.5]
    boxes = {"a.mp4/000001": np.array([left, right]), "a.mp4/3": np.array([left])}
    predict(source, boxes, formats=("dlc_csv",))
    rows = read_csv(tmp_path / "out" / "predictions.csv")
    assert [(row["frame"], row["box_left"], bool(row["nose_x"])) for row in rows] == [
        ("0", "", False), ("1", "-0.500", True), ("1", "31.500", True), ("2", "", False), ("3", "-0.500", True),
        ("4", "", False),
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"smoothing=median takes one box per frame, but .*a.mp4 has 2"):
        predict(source, boxes, smoothing="median")


def passing(count: int) -> Boxes:
    """Boxes of two subjects that are listed in turns, of which the first is missed in a frame."""
    left, right = [-0.5, -0.5, 31.5, 47.5], [31.5, -0.5, 63.5, 47.5]
    pairs = [[left, right] if n % 2 else [right, left] for n in range(count)]
    pairs[3] = [right]
    return {f"a.mp4/{n:06d}": np.array(boxes) for n, boxes in enumerate(pairs)}


def test_subjects_are_followed_after_a_resumed_job_as_in_one(
    predict: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = film(tmp_path / "a.mp4", count=12), tmp_path / "out" / "predictions.csv"
    boxes = passing(12)
    settings = {"track": TrackOptions(), "smoothing": "kalman", "formats": ("coco", "dlc_csv"), "video": True}
    (line,) = predict(source, boxes, **settings)
    assert "12 frames" in line
    whole = out.read_text()
    rows = read_csv(out)
    assert {(row["track"], row["box_left"]) for row in rows} == {("1", "-0.500"), ("2", "31.500")} and len(rows) == 23
    with pytest.raises(ValueError, match=r"was started with track=\{'max_gap': 30, .*, not track=\{'max_gap': 1,"):
        predict(source, boxes, resume=True, **settings | {"track": TrackOptions(max_gap=1)})
    (tmp_path / "out" / "job.json").unlink()
    with monkeypatch.context() as patch:
        interrupt(patch, after=5)
        with pytest.raises(KeyboardInterrupt):
            predict(source, boxes, **settings)
    predict(source, boxes, resume=True, **settings)
    assert out.read_text() == whole


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"on_error": "ignore"}, "on_error='ignore': choose from skip, error"),
        ({"smoothing": "mean"}, r"smoothing='mean': did you mean 'median'\?"),
        (
            {"smoothing": "median", "smoothing_window": 4},
            "smoothing_window=4 must be an odd number of frames, 3 or more",
        ),
        (
            {"smoothing": "median", "smoothing_window": 1},
            "smoothing_window=1 must be an odd number of frames, 3 or more",
        ),
        ({"smoothing": "median", "smoothing_window": -3}, "smoothing_window=-3 must be an odd number"),
        ({"threshold": 50.0}, "threshold=50 must be a probability, 0 to 1"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"formats": ("csv",)}, r"formats=\['csv'\]: 'csv': did you mean 'dlc_csv'\?"),
    ],
)
def test_impossible_options_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PredictOptions(**{"ckpt": Path("a.ckpt"), "batch_size": 4, **settings})


def test_a_video_without_frames_is_an_error(predict: Any, tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "text.mp4").write_text("hello")
    with caplog.at_level(logging.WARNING), pytest.raises(ValueError, match=r"text.mp4 cannot be decoded"):
        predict(tmp_path / "text.mp4")
    assert not list((tmp_path / "out").iterdir())


@pytest.fixture
def explain(ckpt: Path, tmp_path: Path) -> Any:
    """Predicts a source with the parts of each confidence; returns the line printed and the names of the pages."""

    def go(source: Path, boxes: Boxes | None = None, **settings: Any) -> tuple[str, list[str]]:
        options = PredictOptions(ckpt, 4, explain=True, images=False, **settings)
        work = Job(load_predictor(ckpt, explain=True), options, tmp_path / "out", boxes)
        (line,) = [work.run(item) for item in find_sources(str(source), tmp_path / "out")]
        folder = tmp_path / "out" / "explain"
        return line, sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))

    return go


def test_the_least_confident_rows_are_chosen_in_their_order() -> None:
    means = [0.9, float("nan"), 0.3, 0.6, 0.2, 0.8]
    empty = Row(0, 0, True, 0.0, (1, 1), "", *[np.zeros(0)] * 4, None)
    rows = [
        empty._replace(number=i, has_subject=mean == mean, confidence=np.array([mean - 0.1, mean + 0.1]))
        for i, mean in enumerate(means)
    ]
    assert [row.number for row in least_confident(rows, 3)] == [2, 3, 4]
    assert [row.number for row in least_confident(rows, 99)] == [0, 2, 3, 4, 5]


def test_the_least_confident_images_have_a_page_each(explain: Any, tmp_path: Path) -> None:
    source = images(tmp_path / "in", 5)
    assert explain(source, explain_images=0)[1] == [] and (tmp_path / "out" / "confidence.csv").exists()
    line, pages = explain(source, explain_images=2)
    assert line.endswith(f"{tmp_path / 'out' / 'explain'} (the 2 least confident of 5; explain_images=5 draws all)")
    assert len(pages) == 2
    line, pages = explain(source)
    assert len(pages) == 5 and line.endswith(str(tmp_path / "out" / "explain"))


def test_frames_and_subjects_have_pages(explain: Any, tmp_path: Path) -> None:
    clip = film(tmp_path / "a.mp4", 12, draw=bits)
    _, pages = explain(clip, explain_images=3)
    chosen = [int(Path(page).stem) for page in pages]
    assert len(chosen) == 3 and set(chosen) < {*range(12)}
    assert [number_of(Video(clip, 10**6).read(number)) for number in chosen] == chosen
    (tmp_path / "out" / "job.json").unlink()
    boxes = {"01.png": np.array([[1.0, 2, 30, 40], [5, 5, 60, 40]])}
    _, pages = explain(images(tmp_path / "in", 2), boxes)
    assert {"01.subject0.png", "01.subject1.png"} < {*pages} and not any(page.startswith("00.") for page in pages)


def test_pages_of_another_number_are_another_job(explain: Any, tmp_path: Path) -> None:
    source = images(tmp_path / "in", 2)
    explain(source)
    assert "is complete" in explain(source, resume=True)[0]
    with pytest.raises(ValueError, match=r"started with explain_images=20, not explain_images=1"):
        explain(source, resume=True, explain_images=1)
    with pytest.raises(ValueError, match="explain_images=-1 must be a number of pages, 0 for none"):
        explain(source, explain_images=-1)


def test_regions_are_a_table_and_drawn_as_ellipses(predict: Any, predictor: Any, tmp_path: Path) -> None:
    source, K = images(tmp_path / "images", 2), len(predictor.skeleton)
    radii = (3.0, *[float("nan")] * (K - 1))
    predict(source, regions=0.9, region_radii=radii, threshold=0.0)
    rows, names = read_csv(tmp_path / "out" / "regions.csv"), predictor.skeleton.names
    assert [row["keypoint"] for row in rows] == [*names, *names] and rows[0]["image"] == "00.png"
    found = predictor(np.full((48, 64, 3), gray(0), np.uint8))
    axes = ellipse_axes(found["covariance"][0], 3.0)
    told = [float(rows[0][part]) for part in ("x", "y", "half_axis_long", "half_axis_short", "angle")]
    np.testing.assert_allclose(told, [*found["keypoints"][0], *axes], atol=1e-3)
    assert rows[1]["half_axis_long"] == "" and rows[1]["x"] != ""
    drawn = read_image(tmp_path / "out" / "images" / "00.jpg")
    predict(source, resume=False)
    assert not np.array_equal(read_image(tmp_path / "out" / "images" / "00.jpg"), drawn)


def test_a_plane_adds_a_table_of_millimeters(predict: Any, predictor: Any, tmp_path: Path) -> None:
    source, K = images(tmp_path / "images", 2), len(predictor.skeleton)
    predict(source, plane=Plane.of([0.5, 0.25]))
    rows = read_csv(tmp_path / "out" / "millimeters.csv")
    assert [row["image"] for row in rows] == ["00.png"] * K + ["01.png"] * K
    found = predictor(np.full((48, 64, 3), gray(0), np.uint8))
    (x, y), ((xx, xy), (_, yy)) = found["keypoints"][0], found["covariance"][0]
    told = [float(rows[0][part]) for part in ("x", "y", "sd_x", "sd_y", "correlation", "confidence")]
    expected = [x / 2, y / 4, xx**0.5 / 2, yy**0.5 / 4, xy / (xx * yy) ** 0.5, found["confidence"][0]]
    np.testing.assert_allclose(told, expected, atol=5e-4)
    predict(source, plane=Plane.of([0.5, 0.25]), threshold=1.0, drop_below_threshold=True)
    assert not any(row["x"] or row["sd_x"] for row in read_csv(tmp_path / "out" / "millimeters.csv"))


def test_a_point_that_is_not_accepted_has_no_region(predict: Any, predictor: Any, tmp_path: Path) -> None:
    radii = (3.0,) * len(predictor.skeleton)
    accept = {"threshold": 1.0, "drop_below_threshold": True}
    predict(images(tmp_path / "images", 1), regions=0.9, region_radii=radii, images=False, **accept)
    rows = read_csv(tmp_path / "out" / "regions.csv")
    confidence = read_csv(tmp_path / "out" / "predictions.csv")[0]
    for row in rows:
        rejected = float(confidence[f"{row['keypoint']}_confidence"]) < 1
        assert (row["x"] == "" and row["half_axis_long"] == "") == rejected


@pytest.fixture
def drawing(ckpt: Path) -> Predictor:
    """A predictor with heatmap sets of all keypoints but the last."""
    plain = load_predictor(ckpt)
    tails = np.array([0.02] * (len(plain.skeleton) - 1) + [np.nan])
    return Predictor(plain.net, plain.skeleton, plain.size, "cpu", tails=tails)


def test_heatmap_sets_are_polygons_of_the_cells_and_drawn(drawing: Predictor, ckpt: Path, tmp_path: Path) -> None:
    source, out, shown = images(tmp_path / "images", 2), tmp_path / "out", {}
    for level in (0.9, None):
        predictor = drawing if level else load_predictor(ckpt)
        options = PredictOptions(ckpt, batch_size=4, heatmap_sets=level)
        for item in find_sources(str(source), out):
            Job(predictor, options, out).run(item)
        shown[level] = read_image(out / "images" / "00.jpg")
    assert not np.array_equal(shown[0.9], shown[None])
    content = json.loads((out / "heatmap_sets.json").read_text())
    assert content["level"] == 0.9 and [s["image"] for s in content["subjects"]] == ["00.png", "01.png"]
    image, names = np.full((48, 64, 3), gray(0), np.uint8), drawing.skeleton.names
    cells, scale = drawing([image, image])["sets"][0], 64 / drawing.size[1]
    parts = content["subjects"][0]["keypoints"]
    assert [*parts] == [*names] and parts[names[-1]] == [] and not cells[-1].any()
    for name, own in zip(names[:-1], cells[:-1], strict=True):
        area = own.sum() * (drawing.net.head.stride * scale) ** 2
        assert sum(part["area"] for part in parts[name]) == pytest.approx(area, abs=0.01) and area > 0


def test_heatmap_sets_of_a_video_are_the_same_after_an_interruption(
    drawing: Predictor, ckpt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go(output: str, **settings: Any) -> bytes:
        options = PredictOptions(ckpt, batch_size=4, heatmap_sets=0.5, video=True, **settings)
        for item in find_sources(str(source), tmp_path / output):
            Job(drawing, options, tmp_path / output).run(item)
        return (tmp_path / output / "heatmap_sets.json").read_bytes()

    source = film(tmp_path / "a.mp4", count=6)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, 4)
        go("b")
    whole = go("a")
    assert go("b", resume=True) == whole and [s["frame"] for s in json.loads(whole)["subjects"]] == [*range(6)]
    assert (tmp_path / "b" / "labeled.mp4").read_bytes() == (tmp_path / "a" / "labeled.mp4").read_bytes()
