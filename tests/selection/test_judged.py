"""Labels are compared with the predictions of their own image, also after they were corrected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.results import NAMES, example_results
from softpoint.evaluation import Results
from softpoint.images import ImageFolder
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton
from softpoint.paths import write_json
from softpoint.selection.judged import judged_by_folds


def labels_of(results: Results, order: list[int]) -> Labels:
    subjects = [Subject(results.images[i], f"line {i}", results.truth[i], results.visibility[i]) for i in order]
    return Labels("labels.csv", "folder", Skeleton(NAMES), tuple(subjects))


def study(folder: Path, results: Results, seeds: int = 1) -> Path:
    results.write(folder / "predictions.csv")
    write_json(
        folder / "crossval.json", {"confidence_fraction": 0.1, "seeds": {str(seed): {} for seed in range(seeds)}}
    )
    return folder


def test_predictions_follow_their_images_and_labels_are_those_of_now(tmp_path: Path) -> None:
    results = example_results(12)
    order = [0, 1, *reversed(range(2, 12))]  # the first two share an image, where their order counts
    labels = labels_of(replace(results, truth=results.truth + 7.0), order)  # all were corrected since
    both = Results.concat([results, results])  # of two seeds
    judged = judged_by_folds(labels, study(tmp_path, both, 2), ImageFolder(Path("folder")))
    assert judged.fraction == 0.1 and judged.held_out.all() and not judged.note
    np.testing.assert_array_equal(judged.results.keypoints, results.keypoints[order])
    np.testing.assert_array_equal(judged.results.truth, labels.keypoints)
    assert judged.labels.places == labels.places and judged.results.images == list(labels.images)


def test_labels_without_a_prediction_are_counted_and_those_of_another_set_refused(tmp_path: Path) -> None:
    results = example_results(12)
    folder = study(tmp_path, results.select(range(2, 10)))
    judged = judged_by_folds(labels_of(results, list(range(12))), folder, ImageFolder(Path("folder")))
    assert len(judged.results) == 8 and judged.note.startswith("4 labeled subjects were not in the cross-validation")
    with pytest.raises(ValueError, match=r"no image of .* was predicted in"):
        judged_by_folds(labels_of(results, [0, 1]), folder, ImageFolder(Path("folder")))
    with pytest.raises(FileNotFoundError, match="holds no finished cross-validation"):
        judged_by_folds(labels_of(results, [0]), tmp_path / "none", ImageFolder(Path("folder")))


def test_two_subjects_of_one_seed_are_not_two_seeds_of_one(tmp_path: Path) -> None:
    results = example_results(12)
    assert results.images[0] == results.images[1]
    labels = labels_of(results, list(range(1, 12)))  # the first subject was removed since
    judged = judged_by_folds(labels, study(tmp_path, results), ImageFolder(Path("folder")))
    assert judged.results.images == results.images[2:] and judged.note.startswith("1 labeled subjects")
