"""A model of several subjects, from its training to its predictions, at the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.training import read_csv, trained
from softpoint.images.decode import read_image
from softpoint.inference import load_predictor, read_checkpoint
from softpoint.inference.subjects import SubjectPredictor, subject_finder


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder; its images are in the folder `moved` beside it."""
    words = ("data.mode=multi", "data.boxes=keypoints", "trainer.max_steps=3", "report=true")
    return trained(tmp_path_factory.mktemp("several"), *words)


def test_its_training_reports_what_it_finds(several: Path) -> None:
    checkpoint = read_checkpoint(several / "checkpoints" / "best.ckpt")
    assert checkpoint.finder is not None and checkpoint.finder["anchor"] == "box"
    assert {"oks_ap", "recall", "images"} <= checkpoint.record["finding"].keys()
    assert "finds subjects in whole images" in (several / "model_card.md").read_text()
    assert 'id="subjects"' in (several / "report.html").read_text()
    assert (several / "config.yaml").exists() or list(several.rglob("*.yaml"))


def test_each_subject_has_a_row_as_the_predictor_answers(several: Path, start: Callable, tmp_path: Path) -> None:
    ckpt, source = several / "checkpoints" / "best.ckpt", several.parent / "moved"
    words = ["subject_threshold=0", "max_subjects=3", f"output={tmp_path / 'out'}", "formats=[coco]", "images=true"]
    ending = start("predict", f"ckpt={ckpt}", f"source={source}", *words)
    assert ending.code == 0, ending.err
    assert "boxes=LABELS" not in ending.out
    checkpoint = read_checkpoint(ckpt)
    predict = SubjectPredictor(load_predictor(checkpoint), subject_finder(checkpoint, 0.0, 3))
    rows = read_csv(tmp_path / "out" / "predictions.csv")
    for image in sorted({row["image"] for row in rows}):
        own = [row for row in rows if row["image"] == image]
        found = predict(read_image(source / image))
        assert 0 < len(found.score) == len(own) <= 3
        assert [float(row["score"]) for row in own] == pytest.approx(found.score.tolist(), abs=6e-5)
        assert [float(row["box_left"]) for row in own] == pytest.approx(found.boxes[:, 0].tolist(), abs=6e-3)
        assert [float(row["nose_x"]) for row in own] == pytest.approx(found.keypoints[:, 0, 0].tolist(), abs=6e-3)
        assert (np.diff(found.score) <= 0).all()
    results = json.loads((tmp_path / "out" / "predictions_coco.json").read_text())
    assert [entry["score"] for entry in results] == pytest.approx([float(row["score"]) for row in rows], abs=6e-5)


def test_an_image_without_a_find_has_an_empty_row(several: Path, start: Callable, tmp_path: Path) -> None:
    ckpt, source = several / "checkpoints" / "best.ckpt", several.parent / "moved"
    words = ["subject_threshold=1", f"output={tmp_path / 'out'}"]
    ending = start("predict", f"ckpt={ckpt}", f"source={source}", *words)
    assert ending.code == 0, ending.err
    rows = read_csv(tmp_path / "out" / "predictions.csv")
    assert len(rows) == 12 and {row["nose_x"] + row["score"] for row in rows} == {""}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("subject_threshold=2", "subject_threshold=2 must be a probability"),
        ("max_subjects=0", "max_subjects=0 must be a whole number from 1 on"),
    ],
)
def test_a_number_out_of_range_is_named(
    several: Path, start: Callable, tmp_path: Path, word: str, message: str
) -> None:
    ckpt, source = several / "checkpoints" / "best.ckpt", several.parent / "moved"
    ending = start("predict", f"ckpt={ckpt}", f"source={source}", f"output={tmp_path / 'out'}", word)
    assert ending.code == 1 and message in ending.err
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_the_size_in_which_subjects_are_found_is_the_models(several: Path, start: Callable, tmp_path: Path) -> None:
    labels = next((several.parent).rglob("labels.csv"))
    words = ["data=custom", f"data.labels={labels}", "data.mode=multi", "data.finding_pixels=4096", "split=all"]
    ending = start("evaluate", f"ckpt={several / 'checkpoints' / 'best.ckpt'}", *words, f"output={tmp_path / 'out'}")
    assert ending.code == 1 and "data.finding_pixels=4096: a model finds subjects in inputs of the size" in ending.err


def test_boxes_of_ones_own_replace_the_finder(several: Path, start: Callable, tmp_path: Path) -> None:
    ckpt, source = several / "checkpoints" / "best.ckpt", several.parent / "moved"
    lines = ["image,box_left,box_top,box_right,box_bottom"]
    lines += [f"{path.relative_to(source)},5,5,25,25" for path in sorted(source.rglob("*.png"))[:2]]
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    words = [f"boxes={tmp_path / 'boxes.csv'}", f"output={tmp_path / 'out'}"]
    ending = start("predict", f"ckpt={ckpt}", f"source={source}", *words)
    assert ending.code == 0, ending.err
    rows = read_csv(tmp_path / "out" / "predictions.csv")
    assert len(rows) == 2 and "score" not in rows[0] and {row["box_left"] for row in rows} == {"5.000"}


def test_images_to_label_are_chosen_by_what_is_found_in_them(several: Path, start: Callable, tmp_path: Path) -> None:
    words = [f"source={several.parent / 'moved'}", f"output={tmp_path / 'out'}", "count=2", "warn=false"]
    ending = start("suggest", f"ckpt={several / 'checkpoints' / 'best.ckpt'}", *words)
    assert "boxes=LABELS" not in ending.out
    # After three steps the finder is sure of nothing, and an image without a find is no candidate.
    assert ending.code == 0 or "in which no subject is found" in ending.err, ending.err


def test_both_calibrations_are_fitted_again(several: Path, start: Callable) -> None:
    moved = [f"data.labels={several.parent / 'labels.csv'}", f"data.images={several.parent / 'moved'}"]
    ending = start("calibrate", f"ckpt={several / 'checkpoints' / 'best.ckpt'}", *moved)
    assert ending.code == 0, ending.err
    assert "confidence: the probability" in ending.out and "score of a find: the probability" in ending.out
