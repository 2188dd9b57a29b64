"""The predict command writes what the predictor answers, or nothing."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.training import NAMES, labeled, read_csv, write_labels
from softpoint.images.decode import read_image
from softpoint.inference import load_predictor
from softpoint.inference.batch.journal import Journal
from softpoint.labels.formats import read_labels
from softpoint.paths import sha256


def numbers(row: dict[str, str], part: str) -> list[float]:
    return [float(row[f"{name}_{part}"]) for name in NAMES]


def test_an_interrupted_folder_becomes_a_table_and_images(
    run: Path, start: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ckpt, source, output = run / "checkpoints" / "best.ckpt", run.parent / "moved", tmp_path / "out"
    words = [f"ckpt={ckpt}", f"source={source}", f"output={output}", "names=true", "ellipses=true"]
    with monkeypatch.context() as patch:
        append = Journal.append
        patch.setattr(Journal, "append", lambda *item: (append(*item), signal.raise_signal(signal.SIGTERM)))
        ending = start("predict", *words)
    kept = f"1 images are kept in {output / 'predictions.partial'}; output={output} resume=true continues"
    assert ending.code == 143 and kept in ending.out
    ending = start("predict", *words, "resume=true")
    assert ending.code == 0 and f"12 images: {output / 'predictions.csv'}" in ending.out
    predictor, rows = load_predictor(ckpt), read_csv(output / "predictions.csv")
    assert [row["image"] for row in rows] == sorted(f"video{i % 4}/img{i:02}.png" for i in range(12))
    for row in rows:
        image = read_image(source / row["image"])
        found = predictor(image)
        points = np.array([numbers(row, "x"), numbers(row, "y")]).T
        np.testing.assert_allclose(points, found["keypoints"], atol=6e-4)
        np.testing.assert_allclose(numbers(row, "confidence"), found["confidence"], atol=6e-5)
        drawn = read_image(output / "images" / Path(row["image"]).with_suffix(".jpg"))
        assert drawn.shape[0] * image.shape[1] == pytest.approx(drawn.shape[1] * image.shape[0], rel=0.02)


def test_every_page_is_predicted_and_wide_values_as_in_the_training(run: Path, start: Callable, tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((40, 50), value, np.uint16)) for value in (4000, 800, 1600)]
    pages[0].save(tmp_path / "movie.tif", save_all=True, append_images=pages[1:])
    output, ckpt = tmp_path / "out", run / "checkpoints" / "best.ckpt"
    words = [f"ckpt={ckpt}", f"source={tmp_path / 'movie.tif'}", f"output={output}"]
    ending = start("predict", *words)
    assert ending.code == 0 and "movie.tif: the 16-bit images use 12 bits" in ending.out
    rows = read_csv(output / "predictions.csv")
    assert [row["image"] for row in rows] == [f"movie.tif/{number:06}" for number in range(3)]
    assert sorted(path.name for path in (output / "images/movie.tif").iterdir()) == [f"{n:06}.jpg" for n in range(3)]
    assert start("predict", *words, "bits=12").code == 0
    for row, value in zip(read_csv(output / "predictions.csv"), (250, 50, 100), strict=True):
        expected = load_predictor(ckpt)(np.full((40, 50, 3), value, np.uint8))["keypoints"]
        np.testing.assert_allclose(numbers(row, "x"), expected[:, 0], atol=6e-4)


def test_a_single_image_without_drawing(run: Path, start: Callable, tmp_path: Path) -> None:
    source = run.parent / "moved" / "video1" / "img05.png"
    ckpt = run / "checkpoints" / "last.ckpt"
    ending = start("predict", f"ckpt={ckpt}", f"source={source}", f"output={tmp_path / 'out'}", "images=false")
    assert ending.code == 0
    assert [row["image"] for row in read_csv(tmp_path / "out" / "predictions.csv")] == ["img05.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["job.json", "predictions.csv"]


def test_the_parts_of_each_confidence_are_a_table(run: Path, start: Callable, tmp_path: Path) -> None:
    output = tmp_path / "out"
    words = [f"ckpt={run / 'checkpoints' / 'best.ckpt'}", f"source={run.parent / 'moved'}", f"output={output}"]
    ending = start("predict", *words, "explain=true", "images=false")
    assert ending.code == 0 and f"{output / 'confidence.csv'}" in ending.out
    parts = read_csv(output / "confidence.csv")
    expected = [(row["image"], name, row[f"{name}_confidence"]) for row in read_csv(output / "predictions.csv")
                for name in NAMES]  # fmt: skip
    assert [(row["image"], row["keypoint"], row["confidence"]) for row in parts] == expected
    for row in parts:
        product = float(row["in_image"]) * float(row["within_radius"])
        assert product == pytest.approx(float(row["confidence"]), abs=2e-4)
    assert "explain" in start("predict", *words, "images=false", "resume=true").err


def test_images_of_one_name_do_not_hide_each_other_and_folders_may_be_numbers(
    run: Path, start: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source, output = tmp_path / "2024", tmp_path / "7"
    source.mkdir()
    images = sorted((run.parent / "moved").glob("*/*.png"))
    shutil.copy(images[0], source / "a.png")
    shutil.copy(images[1], source / "a.bmp")
    shutil.copy(images[2], source / "a.b.png")
    ending = start("predict", f"ckpt={run / 'checkpoints' / 'best.ckpt'}", "source=2024", "output=7")
    assert ending.code == 0 and len(read_csv(output / "predictions.csv")) == 3
    assert len(list((output / "images").iterdir())) == 3


@pytest.mark.parametrize(
    ("ckpt", "source", "message"),
    [
        ("none.ckpt", "moved", r"error: no checkpoint at none.ckpt; a run keeps its own in checkpoints/best.ckpt"),
        ("text.ckpt", "moved", r"text.ckpt is no checkpoint of softpoint, or is damaged"),
        ("best", "nowhere", r"source=nowhere does not exist; name an image"),
        ("best", "empty", r"empty holds no image and no video; looked for"),
        ("best", "text.ckpt", r"text.ckpt is no image ("),
        ("best", "991", r"error: source=camera 991 cannot be opened: there is none of this number"),
        ("best", "rtsp://me:secret@127.0.0.1:9/a", r"error: source=rtsp://127.0.0.1:9/a cannot be opened ("),
    ],
)
def test_what_is_missing_is_named(
    run: Path, start: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ckpt: str, source: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "moved").symlink_to(run.parent / "moved")
    (tmp_path / "text.ckpt").write_text("hello")
    file = run / "checkpoints" / "best.ckpt" if ckpt == "best" else ckpt
    ending = start("predict", f"ckpt={file}", f"source={source}", f"output={tmp_path / 'out'}", "window=false")
    assert ending.code == 1 and "Traceback" not in ending.err and message in ending.err
    assert not (tmp_path / "out" / "predictions.csv").exists()


def test_results_replace_no_source(run: Path, start: Callable, tmp_path: Path) -> None:
    image = tmp_path / "images" / "a.jpg"
    shutil.copytree(run.parent / "moved" / "video0", image.parent)
    read = next(image.parent.glob("*.png")).rename(image).read_bytes()
    labels = tmp_path / "predictions.csv"
    labels.write_text("image,nose_x,nose_y\nimages/a.jpg,1,2\n")
    for source, said in ((image.parent, "over the images there"), (labels, "would write predictions.csv over")):
        ending = start("predict", f"ckpt={run / 'checkpoints' / 'best.ckpt'}", f"source={source}", f"output={tmp_path}")
        assert ending.code == 1 and said in ending.err and "name another folder" in ending.err
    assert image.read_bytes() == read and sorted(file.name for file in tmp_path.iterdir()) == ["images", labels.name]


def test_one_row_a_box(run: Path, start: Callable, tmp_path: Path) -> None:
    source, output = run.parent / "moved", tmp_path / "out"
    rows = ["image,box_left,box_top,box_right,box_bottom,nose_x,nose_y"]
    rows += ["video0/img00.png,5,5,40,40,,", "video0/img00.png,10,12,60,60,,", "video1/img01.png,0,0,30,44,,"]
    (tmp_path / "boxes.csv").write_text("\n".join(rows))
    ckpt = run / "checkpoints" / "best.ckpt"
    ending = start("predict", f"ckpt={ckpt}", f"source={source}", f"output={output}", f"boxes={tmp_path / 'boxes.csv'}")
    assert ending.code == 0, ending.err
    found, predictor = read_csv(output / "predictions.csv"), load_predictor(ckpt)
    assert [row["image"] for row in found] == ["video0/img00.png", "video0/img00.png", "video1/img01.png"]
    assert [float(found[1][f"box_{edge}"]) for edge in ("left", "top", "right", "bottom")] == [10, 12, 60, 60]
    expected = predictor(read_image(source / "video0" / "img00.png"), [10, 12, 60, 60])["keypoints"]
    points = np.array([numbers(found[1], "x"), numbers(found[1], "y")]).T
    np.testing.assert_allclose(points, expected, atol=2e-3)
    assert len(list((output / "images").rglob("*.jpg"))) == 2


def test_crops_are_those_of_training(start: Callable, tmp_path: Path) -> None:
    """Trained on boxes about two keypoints, a network is shown such boxes, and table and predictions agree.

    The nose of an image is missing, which its labels mark in a way of their own.
    """
    folder, words = tmp_path / "data", ["data.boxes=keypoints", "data.keypoints=[nose,tail]", "data.padding=1.5"]
    labels = write_labels(folder)
    *before, last = (folder / "labels.csv").read_text().splitlines()
    marked = ",".join([last.split(",")[0], "-9", "-9", *last.split(",")[3:]])
    (folder / "labels.csv").write_text("\n".join([*before, marked]) + "\n")
    words.append("data.missing=[[-9,-9]]")
    train = start("train", *labeled(labels, "data.mode=instance", *words))
    assert train.code == 0 and "boxes=LABELS" in train.out, train.err
    ckpt, output = tmp_path / "run" / "checkpoints" / "best.ckpt", tmp_path / "out"
    usual = [f"ckpt={ckpt}", f"source={folder}", f"output={output}", "images=false"]
    assert "without boxes=LABELS" in start("predict", *usual).out
    assert start("predict", *usual, f"boxes={folder / 'labels.csv'}").code == 0
    # Labels as a source give the boxes as well.
    words = [f"source={folder / 'labels.csv'}", f"output={tmp_path / 'other'}", "images=false"]
    assert start("predict", usual[0], *words).code == 0
    rows = [sorted(map(str, read_csv(path / "predictions.csv"))) for path in (output, tmp_path / "other")]
    assert rows[0] == rows[1] and "'box_left': ''" not in rows[0][0]
    boxes = {row["image"]: float(row["box_left"]) for row in read_csv(output / "predictions.csv")}
    assert len(boxes) == 12 and min(boxes.values()) > -9 and any(name in last for name in boxes)
    truth = read_labels(folder / "labels.csv", missing=[[-9, -9]]).with_keypoints(["nose", "tail"])
    tested = {row["image"] for row in read_csv(tmp_path / "run" / "splits.csv") if row["split"] == "test"}
    errors = []
    for row, subject in zip(sorted(read_csv(output / "predictions.csv"), key=lambda row: row["image"]),
                            sorted(truth.subjects, key=lambda subject: subject.image), strict=True):  # fmt: skip
        assert row["image"] == subject.image
        points = np.array([[float(row[f"{name}_{axis}"]) for axis in "xy"] for name in ("nose", "tail")])
        if row["image"] in tested:
            errors.append(np.linalg.norm(points - subject.keypoints, axis=1))
    said = float(read_csv(tmp_path / "run" / "test.csv")[-1]["epe"])
    assert np.nanmean(errors) == pytest.approx(said, abs=1e-3)


@pytest.mark.parametrize(
    ("exif", "labels", "meant"),
    [
        ("ignore", "labels.csv", "ignore"),
        ("ignore", None, "apply"),
        ("error", "labels.csv", "apply"),
        (None, "a", "apply"),
    ],
)
def test_images_are_turned_as_where_their_boxes_come_from(exif: str | None, labels: str | None, meant: str) -> None:
    from softpoint.cli.predict import orientation

    assert orientation({"exif": exif} if exif else {}, Path(labels) if labels else None) == meant


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["accept=2"], "accept=2 must be a confidence, 0 to 1"),
        (["accept=0.5", "threshold=0.3"], "accept= takes the place of threshold="),
        (["accept=absent.json"], "there is no such file; give a number from 0 to 1"),
        (["regions=0.9"], "the model has none of this probability: its validation split had fewer than 9 units"),
        (
            ["heatmap_sets=0.5"],
            "the model has none; softpoint calibrate ckpt=CHECKPOINT heatmap_sets=true",
        ),
    ],
)
def test_a_threshold_or_region_that_cannot_be_is_refused(
    run: Path, start: Callable, tmp_path: Path, words: list[str], message: str
) -> None:
    output = tmp_path / "out"
    ending = start(
        "predict",
        f"ckpt={run / 'checkpoints' / 'best.ckpt'}",
        f"source={run.parent / 'moved'}",
        f"output={output}",
        *words,
    )
    assert ending.code == 1 and message in ending.err and not output.exists()


def test_points_that_are_not_accepted_are_left_out(run: Path, start: Callable, tmp_path: Path) -> None:
    ckpt, source, output = run / "checkpoints" / "best.ckpt", run.parent / "moved", tmp_path / "out"
    words = [f"ckpt={ckpt}", f"source={source}", f"output={output}", "images=false"]
    assert start("predict", *words).code == 0
    before = read_csv(output / "predictions.csv")
    values = np.unique([numbers(row, "confidence") for row in before])
    middle = float(values[len(values) // 2 - 1 : len(values) // 2 + 1].mean())  # files have confidences rounded
    content = {"risk": {"threshold": middle}, "checkpoint_sha256": sha256(ckpt), "tta": None}
    file = tmp_path / "metrics.json"
    file.write_text(json.dumps(content))
    assert start("predict", *words, f"accept={file}").code == 0
    for row, earlier in zip(read_csv(output / "predictions.csv"), before, strict=True):
        for name in NAMES:
            accepted = float(earlier[f"{name}_confidence"]) >= middle
            assert row[f"{name}_x"] == (earlier[f"{name}_x"] if accepted else "")
    file.write_text(json.dumps({**content, "checkpoint_sha256": "of another"}))
    ending = start("predict", *words, f"accept={file}")
    assert ending.code == 1 and "is of another model than ckpt=" in ending.err
