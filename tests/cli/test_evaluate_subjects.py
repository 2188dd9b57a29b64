"""A model that finds subjects is also measured on whole images, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from helpers.training import read_csv, tiny, trained
from softpoint.evaluation.subjects import measure_subjects, read_subjects
from softpoint.images.decode import read_image


def test_found_subjects_are_measured_and_kept(start: Callable, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = tiny("data=synthetic", "scene=figure", "scene.subjects=[0,3]", "data.image_size=96", "trainer.max_steps=2")
    ending = start("train", *words, f"hydra.run.dir={run}")
    assert ending.code == 0, ending.err
    checkpoint = run / "checkpoints" / "best.ckpt"
    output = tmp_path / "out"
    words = (f"ckpt={checkpoint}", f"output={output}", "draws=100", "subject_threshold=0.01", "figures=true")
    ending = start("evaluate", *words)
    assert ending.code == 0, ending.err
    metrics, found = json.loads((output / "metrics.json").read_text()), read_subjects(output / "subjects.csv")
    assert len(found) == metrics["finding"]["images"] == 5 and found.images[0] == "test/0"
    assert metrics["finding"]["subjects"] == metrics["subjects"] == len(found.labeled_in)
    again = measure_subjects(found, threshold=0.01, draws=100)
    assert metrics["finding"] == json.loads(json.dumps(again))
    page = (output / "report.html").read_text()
    assert (
        'id="subjects"' in page and f'<data value="{metrics["finding"]["oks"]["overall"]["recall"]["value"]}">' in page
    )
    assert "5 images" in " ".join(ending.out.split()) and "subjects found with a score of 0.01" in ending.out
    assert read_image(output / "precision_recall.png").std() > 5
    ending = start("evaluate", *words[:2], "draws=0", "max_subjects=1", "group=none", "report=false", "data.test=2")
    assert ending.code == 0, ending.err
    found = read_subjects(output / "subjects.csv")
    assert len(found) == 2 and len(found.found_in) <= 2
    assert not (output / "precision_recall.png").exists()
    ending = start("evaluate", *words[:2], "subject_threshold=2")
    assert ending.code == 1 and "subject_threshold=2 must be a number from 0 to 1" in ending.err


def test_labeled_images_of_the_stored_split_or_of_all(start: Callable, tmp_path: Path) -> None:
    run = trained(tmp_path, "data.mode=multi", "data.boxes=keypoints", "trainer.max_steps=2")
    moved = [f"data.labels={run.parent / 'labels.csv'}", f"data.images={run.parent / 'moved'}"]
    usual = [
        f"ckpt={run / 'checkpoints' / 'best.ckpt'}",
        *moved,
        "draws=0",
        "report=false",
        f"output={tmp_path / 'out'}",
    ]
    tested = {row["image"] for row in read_csv(run / "splits.csv") if row["split"] == "test"}
    for words, images in (((), tested), (("split=all", "data.complete=false"), None)):
        ending = start("evaluate", *usual, *words)
        assert ending.code == 0, ending.err
        found = read_subjects(tmp_path / "out" / "subjects.csv")
        assert len(found) == 12 if images is None else set(found.images) == images
        assert found.complete.all() == (images is not None)
    ending = start("evaluate", *usual, "data.mode=image")
    assert ending.code == 0, ending.err
    assert "finding" not in json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert "not measured: finding (the images are evaluated with one subject each" in " ".join(ending.out.split())
    assert not (tmp_path / "out" / "subjects.csv").exists()
