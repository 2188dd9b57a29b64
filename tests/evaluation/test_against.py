"""Predictions of another tool are compared on the points that both have, whatever file they are in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.results import NAMES, example_results
from softpoint.evaluation import Results, compare
from softpoint.evaluation.against import against, matched_images
from softpoint.evaluation.console import comparison_tables
from softpoint.evaluation.tables import verdict
from softpoint.labels.csv_io import write_rows


@pytest.fixture
def model() -> Results:
    """One subject in each of 12 images, all labeled, of images of 200 x 300 px."""
    rng = np.random.default_rng(1)
    truth = rng.uniform(10, 190, (12, 4, 2))
    return example_results(
        12,
        truth=truth,
        keypoints=truth + rng.normal(0, 6, truth.shape),
        visibility=np.full((12, 4), 2),
        size=np.tile([200, 300], (12, 1)),
        images=[f"video{i % 6}/img{i:03}.png" for i in range(12)],
    )


@pytest.fixture
def other(model: Results) -> Results:
    """Another tool's predictions, without covariances."""
    rng = np.random.default_rng(2)
    keypoints = (model.truth + rng.normal(0, 2, model.truth.shape)).round(4)
    blank = np.full_like(model.covariance, np.nan)
    return replace(model, keypoints=keypoints, confidence=rng.uniform(0.1, 1, (12, 4)).round(4), covariance=blank)


def wide(other: Results, path: Path) -> Path:
    header = ["image", *(f"{name}_{part}" for name in NAMES for part in ("x", "y", "confidence"))]
    values = np.concatenate([other.keypoints, other.confidence[..., None]], 2).reshape(len(other), -1)
    rows = [[f"C:\\data\\{i}".replace("/", "\\"), *map(str, v)] for i, v in zip(other.images, values, strict=True)]
    write_rows(path / "other.csv", [header, *rows])
    return path / "other.csv"


def dlc(other: Results, path: Path) -> Path:
    header = [["scorer"], ["bodyparts"], ["coords"]]
    for name in NAMES:
        for row, texts in zip(header, (["net"] * 3, [name] * 3, ["x", "y", "likelihood"]), strict=True):
            row += texts
    values = np.concatenate([other.keypoints, other.confidence[..., None]], 2).reshape(len(other), -1)
    write_rows(path / "dlc.csv", [*header, *([i, *map(str, v)] for i, v in zip(other.images, values, strict=True))])
    return path / "dlc.csv"


def coco(other: Results, path: Path) -> Path:
    entries = []
    for i in range(len(other)):
        triples = np.concatenate([other.keypoints[i], other.confidence[i][:, None]], 1)
        entries.append({"image_id": 100 + i, "category_id": 1, "score": 1, "keypoints": triples.ravel().tolist()})
    images = [{"id": 100 + i, "file_name": image} for i, image in enumerate(other.images)]
    (path / "net_images.json").write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    (path / "net.json").write_text(json.dumps(entries))
    return path / "net.json"


def yolo(other: Results, path: Path) -> Path:
    (path / "labels").mkdir()
    for i, image in enumerate(other.images):
        fractions = np.concatenate([other.keypoints[i] / other.size[i, ::-1], other.confidence[i][:, None]], 1)
        line = " ".join(["0 0.5 0.5 1 1", *(f"{value:.9f}" for value in fractions.ravel())])
        (path / "labels" / f"{Path(image).stem}.txt").write_text(f"{line} 0.9\n")
    return path


def evaluated(other: Results, path: Path) -> Path:
    other.write(path / "predictions.csv")
    return path / "predictions.csv"


@pytest.mark.parametrize("write", [wide, dlc, coco, yolo, evaluated])
def test_every_file_gives_the_predictions_and_confidences_in_it(
    write: Callable, model: Results, other: Results, tmp_path: Path
) -> None:
    both = against(write(other, tmp_path), model)
    np.testing.assert_allclose(both.other.keypoints, other.keypoints, atol=1e-4)
    np.testing.assert_allclose(both.other.confidence, other.confidence, atol=1e-6)
    assert both.rows == list(range(12)) and {*both.unmeasured} == {"coverage_50", "coverage_90", "rank_correlation"}
    found = compare(both.model, both.other, fraction=0.05, draws=50, unmeasured=both.unmeasured, notes=both.notes)
    epe = found["overall"]["epe"]
    assert epe["difference"] == pytest.approx(model.errors.mean() - other.errors.mean(), abs=1e-4)
    assert {"ece", "pck@5px"} <= {*found["overall"]} and not {*both.unmeasured} & {*found["overall"]}


def test_both_are_measured_on_what_both_have(model: Results, other: Results, tmp_path: Path) -> None:
    keypoints, confidence = other.keypoints.copy(), np.full((12, 4), np.nan)
    keypoints[3, 1:3] = np.nan
    part = replace(other, keypoints=keypoints, confidence=confidence).select([0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11])
    path = wide(part, tmp_path)
    path.write_text(path.read_text().replace("nan", ""))
    both = against(path, model)
    left = np.zeros((12, 4), bool)
    left[3, 1:3] = left[6] = True
    assert both.rows == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    assert np.nanmean(both.model.errors) == pytest.approx(model.errors[~left].mean())
    assert np.nanmean(both.other.errors) == pytest.approx(other.errors[~left].mean())
    (note,) = both.notes
    assert "no prediction of 6 of 48 labeled points (1 of 12 images have none)" in note
    assert f"the points left out is {model.errors[left].mean():.2f} px" in note
    assert both.unmeasured["ece"] == f"{path} has no confidences"
    found = compare(both.model, both.other, fraction=0.05, oks_sigmas=0.1, draws=50, unmeasured=both.unmeasured)
    assert not {"ece", "oks_ap"} & {*found["overall"]}
    both.other.write(tmp_path / "b.csv")
    np.testing.assert_array_equal(Results.read(tmp_path / "b.csv").keypoints, both.other.keypoints)


def test_subjects_of_one_image_get_the_nearest_prediction(model: Results, tmp_path: Path) -> None:
    crowd = replace(model, images=["a.png"] * 3 + model.images[3:])
    order = [2, 0, 1, *range(3, 12)]
    swapped = replace(crowd.select(order), keypoints=crowd.truth[order] + 1.0)
    both = against(wide(swapped, tmp_path), crowd)
    np.testing.assert_allclose(both.other.keypoints, crowd.truth + 1.0)


def test_images_are_matched_by_the_ends_of_their_paths() -> None:
    own = ["v1/a.png", "v2/a.png"]
    assert matched_images(own, ["x/v1/a.png", "v3/a.png"]) == ({"x/v1/a.png": "v1/a.png"}, "")
    with pytest.raises(ValueError, match=r"a\.png may be v1/a\.png or v2/a\.png; write longer paths"):
        matched_images(own, ["a.png"])
    assert matched_images(["p/a.png", "p/b.png"], ["q/a.png"]) == ({"q/a.png": "p/a.png"}, "their names alone")
    assert matched_images(["p/a.png"], ["a"]) == ({"a": "p/a.png"}, "their paths without suffix")
    # Names that do not tell images apart match none.
    assert matched_images(own, ["v3/a.png"]) == ({}, "") == matched_images(["v1/a.png"], ["v2/a.png", "v3/a.png"])


def test_what_shares_nothing_is_named(model: Results, other: Results, tmp_path: Path) -> None:
    path = wide(replace(other, images=[f"{image[:-4]}x.png" for image in other.images]), tmp_path)
    with pytest.raises(ValueError, match=r"none has the name of one that is evaluated: did you mean 'img000.png'\?"):
        against(path, model)
    path.write_text(wide(other, tmp_path).read_text().replace("_", "2_"))
    with pytest.raises(ValueError, match=r"has no keypoint of the model, but 'nose2': did you mean 'nose'\?"):
        against(path, model)


def test_the_verdict_is_one_sentence(model: Results, other: Results) -> None:
    found = compare(model, other, draws=200)
    entry = found["overall"]["epe"]
    assert entry["low"] > 0
    expected = f"B is better by {entry['difference']:.2f} px of mean error (95 %: {entry['low']:.2f} to"
    assert verdict(found).startswith(expected) and "on 12 images of 6 groups; the probability" in verdict(found)
    assert verdict(found) in comparison_tables(found).renderables
    assert verdict(compare(model, model, draws=50)).startswith("No difference is shown: A - B is +0.00 px")
    few = compare(model.select(range(3)), other.select(range(3)), draws=50)
    assert verdict(few).endswith("smaller on these 3 images; 3 images are too few to say so of others.")
    gone = replace(model, truth=np.full_like(model.truth, np.nan), visibility=np.zeros((12, 4), int))
    assert verdict(compare(gone, gone, draws=0)) == "No labeled point is measured."
