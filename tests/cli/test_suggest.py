"""The command suggest chooses images and ranks labels, or says what it needs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.training import NAMES, read_csv
from softpoint.cli.faults import calibration_command
from softpoint.cli.suggest import feature_predictor
from softpoint.images.decode import read_image
from softpoint.inference import load_predictor, read_checkpoint
from softpoint.labels.formats import read_labels
from softpoint.selection.candidates import FeaturePredictor
from softpoint.selection.judged import all_labels


@pytest.fixture
def unseen(run: Path, tmp_path: Path) -> Path:
    """The images of the run in folders that it does not know."""
    for path in (run.parent / "moved").rglob("*.png"):
        (tmp_path / "new" / f"day{path.parent.name}").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "new" / f"day{path.parent.name}")
    return tmp_path / "new"


def test_images_are_chosen_with_their_predictions_as_labels(
    run: Path, start: Callable, unseen: Path, tmp_path: Path
) -> None:
    ckpt, output = run / "checkpoints" / "best.ckpt", tmp_path / "out"
    words = [f"ckpt={ckpt}", f"source={unseen}", f"output={output}", "count=3", "threshold=0"]
    ending = start("suggest", *words)
    assert "the images that the model was trained on are not where they were" in ending.out
    assert (
        ending.code == 0 and "12 images or frames read" in ending.out and f"3 images to label in {output}" in ending.out
    )
    rows, labels, predictor = (
        read_csv(output / "suggested.csv"),
        read_labels(output / "labels_coco.json"),
        load_predictor(ckpt),
    )
    assert [row["rank"] for row in rows] == ["1", "2", "3"] and float(rows[0]["score"]) > 0
    for row in rows:
        image = output / "images" / row["image"]
        assert image.read_bytes() == Path(row["source"]).read_bytes()
        expected = predictor(read_image(image))["keypoints"]
        found = labels.keypoints[labels.paths.index(f"images/{row['image']}")]
        kept = np.isfinite(found[:, 0])
        np.testing.assert_allclose(found[kept], expected[kept], atol=2e-3)
    assert read_image(output / "sheet.png").shape[2] == 3
    again = start("suggest", *words)
    assert again.code == 1 and f"output={output} exists and is not empty" in again.err


@pytest.mark.parametrize("words", [["ckpt=a.ckpt", "source=here"], ["labels=a.csv", "ckpt=a.ckpt"]])
def test_nothing_of_a_person_is_overwritten(start: Callable, tmp_path: Path, words: list[str]) -> None:
    table = tmp_path / "labeled-data" / "video" / "CollectedData_anna.csv"
    table.parent.mkdir(parents=True)
    table.write_text("mine")
    ending = start("suggest", *words, f"output={tmp_path}")
    assert ending.code == 1 and f"output={tmp_path} exists and is not empty" in ending.err
    assert table.read_text() == "mine"


def test_images_of_the_run_and_labeled_ones_are_left_out(
    run: Path, start: Callable, unseen: Path, tmp_path: Path
) -> None:
    words = [f"ckpt={run / 'checkpoints' / 'best.ckpt'}", f"output={tmp_path / 'out'}"]
    labels = [f"labels={run.parent / 'labels.csv'}", f"images={run.parent / 'moved'}"]
    ending = start("suggest", *words, f"source={run.parent / 'moved'}", *labels)
    assert ending.code == 1 and "12 of them left out, which are labeled or known to the model" in ending.err
    ending = start("suggest", *words, f"source={unseen}", *labels)
    assert ending.code == 1 and "is left to label" in ending.err


def test_features_are_those_of_each_image_in_any_batch(run: Path) -> None:
    predictor = FeaturePredictor(read_checkpoint(run / "checkpoints" / "best.ckpt"), "cpu")
    images = [read_image(path) for path in sorted((run.parent / "moved").rglob("*.png"))[:5]]
    inputs = [predictor.preprocess(image) for image in images]
    one_by_one = [next(predictor.predict([one], 4))["features"] for one in inputs]
    together = [found["features"] for found in predictor.predict(inputs, 4)]
    np.testing.assert_array_equal(one_by_one, together)
    assert len({feature.tobytes() for feature in together}) == len(images)


def test_a_model_without_calibration_is_refused_with_the_command(run: Path) -> None:
    checkpoint = read_checkpoint(run / "checkpoints" / "best.ckpt")
    checkpoint.net.calibration.fitted = False
    with pytest.raises(ValueError, match="is not calibrated") as error:
        feature_predictor(checkpoint, "cpu")
    assert calibration_command(checkpoint) in str(error.value)


def test_all_labels_are_judged_also_where_training_had_a_split_file(run: Path) -> None:
    checkpoint = read_checkpoint(run / "checkpoints" / "best.ckpt")
    checkpoint.config["data"]["splits"] = "splits.csv"
    settings = {"labels": str(run.parent / "labels.csv"), "images": str(run.parent / "moved")}
    assert len(all_labels(checkpoint, settings)) == 12


def test_labels_are_ranked_by_one_model_with_what_it_learned(run: Path, start: Callable, tmp_path: Path) -> None:
    output, labels = tmp_path / "out", [f"labels={run.parent / 'labels.csv'}", f"images={run.parent / 'moved'}"]
    ending = start("suggest", f"ckpt={run / 'checkpoints' / 'best.ckpt'}", *labels, f"output={output}", "count=2")
    assert ending.code == 0 and "labels were learned by this model" in ending.out
    assert "crossval data=custom data.labels=" in ending.out and "crossval=outputs/crossval_labels" in ending.out
    ending_without = start("suggest", *labels)
    assert ending_without.code == 1 and "run the two commands above" in ending_without.err
    commands = [line for line in ending.out.splitlines() if "crossval_labels" in line]
    assert [line for line in ending_without.out.splitlines() if "crossval_labels" in line] == commands
    rows = read_csv(output / "suspicious.csv")
    assert {row["keypoint"] for row in rows} <= {*NAMES} and {row["held_out"] for row in rows} <= {"yes", "no"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give source=VIDEO_OR_FOLDER to choose images from, or labels=LABELS to check"),
        (["source=here"], "source=WHAT needs a model that knows what it does not know: give ckpt="),
        (["source=here", "crossval=there"], "give one of the two"),
        (["labels=a.csv"], "labels a.csv do not exist"),
        (["labels=a.csv", "count=0"], "count=0: give a whole number from 1 on"),
        (["labels=a.csv", "threshold=2"], "threshold=2 must be a probability"),
        (["ckpt=a.ckpt", "crossval=b"], "crossval=FOLDER judges labels=LABELS, without ckpt"),
    ],
)
def test_what_is_missing_is_named(start: Callable, words: list[str], message: str) -> None:
    ending = start("suggest", *words)
    assert ending.code == 1 and message in ending.err and "Traceback" not in ending.err
