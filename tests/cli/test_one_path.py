"""The command evaluate measures, bit for bit, the predictions of predict for the same images."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.training import read_csv, trained
from softpoint.evaluation import Results
from softpoint.inference.batch import job
from softpoint.inference.batch.predictions import Row


@pytest.fixture(scope="module")
def instance_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on crops of subjects, on images of three sizes."""
    return trained(tmp_path_factory.mktemp("instances"), "data.mode=instance", "data.boxes=keypoints")


@pytest.fixture
def unrounded(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[int, int], Row]:
    """The rows of a prediction by image and subject, before they are rounded for files."""
    kept: dict[tuple[int, int], Row] = {}

    def keep(rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            kept[row.number, row.subject] = row
            yield row

    rounded = job.rounded
    monkeypatch.setattr(job, "rounded", lambda rows: rounded(keep(rows)))
    return kept


@pytest.mark.parametrize(
    ("mode", "tta", "batch_size"),  # every pair of two
    [("image", "null", 5), ("image", "flip", None), ("instance", "null", None), ("instance", "flip", 5)],
)
def test_evaluate_measures_what_predict_predicts(
    request: Any, start: Callable, tmp_path: Path, unrounded: dict, mode: str, tta: str, batch_size: int | None
) -> None:
    run: Path = request.getfixturevalue("run" if mode == "image" else "instance_run")
    labels, images = run.parent / "labels.csv", run.parent / "moved"
    usual = [f"ckpt={run / 'checkpoints' / 'best.ckpt'}", f"tta={tta}"]
    usual += [f"batch_size={batch_size}"] if batch_size else []
    shuffled = tmp_path / "shuffled.csv"  # batches of evaluate hold other images than those of predict
    header, rows = labels.read_text().splitlines()[:3], labels.read_text().splitlines()[3:]
    random.Random(0).shuffle(rows)
    shuffled.write_text("\n".join([*header, *rows, ""]))
    data = [f"data.labels={shuffled}", f"data.images={images}", "split=all", "report=false", "draws=5"]
    evaluation = start("evaluate", *usual, *data, f"output={tmp_path / 'a'}")
    boxes = [f"boxes={labels}"] if mode == "instance" else []
    prediction = start("predict", *usual, *boxes, f"source={images}", "images=false", f"output={tmp_path / 'b'}")
    assert (evaluation.code, prediction.code) == (0, 0), evaluation.err + prediction.err
    results = Results.read(tmp_path / "a" / "predictions.csv")
    names = [row["image"] for row in read_csv(tmp_path / "b" / "predictions.csv")]
    assert sorted(results.images) == names and len(set(map(tuple, results.size.tolist()))) == 3
    assert results.images != names
    for number, name in enumerate(names):
        i, row = results.images.index(name), unrounded[number, 0]
        assert np.isfinite(row.box).all() == (mode == "instance")
        for field in ("keypoints", "confidence", "covariance"):
            np.testing.assert_array_equal(getattr(row, field).astype(np.float32), getattr(results, field)[i], field)
