"""Labels are compared with the predictions of their own image, also after they were corrected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.results import NAMES, example_results
from softpoint.data.sources import LabeledImages
from softpoint.evaluation import Results
from softpoint.evaluation.eval_sets import EvaluationSet
from softpoint.images import ImageFolder
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton
from softpoint.paths import write_json
from softpoint.selection.judged import judged_by_folds, model_of_folds


def labeled(results: Results, order: list[int]) -> EvaluationSet:
    subjects = [Subject(results.images[i], f"line {i}", results.truth[i], results.visibility[i]) for i in order]
    labels = Labels("labels.csv", "folder", Skeleton(NAMES), tuple(subjects))
    return EvaluationSet(LabeledImages(labels, results.size[order], ImageFolder(Path("folder"))), list(labels.images))


def study(folder: Path, results: Results, seeds: int = 1) -> Path:
    results.write(folder / "predictions.csv")
    write_json(
        folder / "crossval.json", {"confidence_fraction": 0.1, "seeds": {str(seed): {} for seed in range(seeds)}}
    )
    return folder


def test_predictions_follow_their_images_and_labels_are_those_of_now(tmp_path: Path) -> None:
    results = example_results(12)
    order = [0, 1, *reversed(range(2, 12))]  # the first two share an image, where their order counts
    now = labeled(replace(results, truth=results.truth + 7.0), order)  # all were corrected since
    other, lost = (replace(results, keypoints=results.keypoints + shift) for shift in (2.0, 300.0))
    judged = judged_by_folds(now, study(tmp_path, Results.concat([results, other, lost]), 3))
    assert judged.fraction == 0.1 and judged.held_out.all() and not judged.note
    for predicted, one in zip((results, other, lost), judged.by_seed, strict=True):
        np.testing.assert_array_equal(one.keypoints, predicted.keypoints[order])
        np.testing.assert_array_equal(one.truth, results.truth[order] + 7.0)
    np.testing.assert_array_equal(judged.results.keypoints, other.keypoints[order])  # the median
    assert judged.labels.places == tuple(f"line {i}" for i in order) and judged.results.images == now.images


def test_labels_without_a_prediction_are_counted_and_those_of_another_set_refused(tmp_path: Path) -> None:
    results = example_results(12)
    folder = study(tmp_path, results.select(range(2, 10)))
    judged = judged_by_folds(labeled(results, list(range(12))), folder)
    assert len(judged.results) == 8 and judged.note.startswith("4 labeled subjects were not in the cross-validation")
    with pytest.raises(ValueError, match=r"no image of .* was predicted in"):
        judged_by_folds(labeled(results, [0, 1]), folder)
    with pytest.raises(FileNotFoundError, match="holds no finished cross-validation, which has crossval"):
        model_of_folds(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="which says how its labels are read"):
        model_of_folds(folder)


def test_two_subjects_of_one_seed_are_not_two_seeds_of_one(tmp_path: Path) -> None:
    results = example_results(12)
    assert results.images[0] == results.images[1]
    now = labeled(results, list(range(1, 12)))  # the first subject was removed since
    judged = judged_by_folds(now, study(tmp_path, results))
    assert judged.results.images == results.images[2:] and judged.note.startswith("1 labeled subjects")
