"""Labels are compared with the predictions of their own image, also after they were corrected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from helpers.results import NAMES, example_results
from softpoint.data.sources import LabeledImages
from softpoint.evaluation import Results
from softpoint.evaluation.eval_sets import EvaluationSet
from softpoint.images import ImageFolder
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton
from softpoint.layers import Calibration
from softpoint.layers.calibration import Evidence, unit_covariance
from softpoint.paths import write_json
from softpoint.selection import judged as module
from softpoint.selection.judged import CovarianceLaw, as_scales, judged_by_folds, model_of_folds


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


def laws_of(results: Results, seed: int = 0) -> dict[str, CovarianceLaw]:
    return {image: CovarianceLaw(1.4 + seed + i / 10, 0.0) for i, image in enumerate(sorted({*results.images}))}


def test_predictions_follow_their_images_and_labels_are_those_of_now(tmp_path: Path) -> None:
    results = example_results(12)
    order = [0, 1, *reversed(range(2, 12))]  # the first two share an image, where their order counts
    now = labeled(replace(results, truth=results.truth + 7.0), order)  # all were corrected since
    other, lost = (replace(results, keypoints=results.keypoints + shift) for shift in (2.0, 300.0))
    judged = judged_by_folds(
        now, study(tmp_path, Results.concat([results, other, lost]), 3), [laws_of(results, seed) for seed in range(3)]
    )
    assert judged.fraction == 0.1 and judged.held_out.all() and not judged.note
    for predicted, one in zip((results, other, lost), judged.by_seed, strict=True):
        np.testing.assert_array_equal(one.keypoints, predicted.keypoints[order])
        np.testing.assert_array_equal(one.truth, results.truth[order] + 7.0)
    np.testing.assert_array_equal(judged.results.keypoints, other.keypoints[order])  # the median
    for seed, one in enumerate(judged.by_seed):
        scale = np.array([laws_of(results, seed)[image].scale for image in one.images])
        np.testing.assert_allclose(one.covariance * scale[:, None, None, None], results.covariance[order])
    assert judged.labels.places == tuple(f"line {i}" for i in order) and judged.results.images == now.images


def test_labels_without_a_prediction_are_counted_and_those_of_another_set_refused(tmp_path: Path) -> None:
    results = example_results(12)
    folder = study(tmp_path, results.select(range(2, 10)))
    judged = judged_by_folds(labeled(results, list(range(12))), folder, [laws_of(results)])
    assert len(judged.results) == 8 and judged.note.startswith("4 labeled subjects were not in the cross-validation")
    with pytest.raises(ValueError, match=r"no image of .* was predicted in"):
        judged_by_folds(labeled(results, [0, 1]), folder, [{}])
    with pytest.raises(FileNotFoundError, match="holds no finished cross-validation, which has crossval"):
        model_of_folds(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="which says how its labels are read"):
        model_of_folds(folder)


def test_each_image_has_the_scale_of_the_model_that_predicted_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study(tmp_path, example_results(12), 2)
    for seed, fold in ((0, 0), (0, 1), (1, 0)):
        path = tmp_path / f"seed{seed}" / f"fold{fold}" / "checkpoints" / "best.ckpt"
        path.parent.mkdir(parents=True)
        path.touch()
    fitted = True

    def read(path: Path, _: Any) -> Any:
        seed, fold = (int(part[4:]) for part in path.parts[-4:-2])
        calibration = SimpleNamespace(fitted=fitted, covariance_scale=2.0 + seed + fold / 2, covariance_slope=0.1)
        return SimpleNamespace(net=SimpleNamespace(calibration=calibration), splits={"test": [f"{fold}.png"]})

    monkeypatch.setattr(module, "read_checkpoint", read)
    assert module.fold_laws(tmp_path) == [{"0.png": (2.0, 0.1), "1.png": (2.5, 0.1)}, {"0.png": (3.0, 0.1)}]
    fitted = False
    with pytest.raises(ValueError, match=r"best\.ckpt is not calibrated"):
        module.fold_laws(tmp_path)


def test_two_subjects_of_one_seed_are_not_two_seeds_of_one(tmp_path: Path) -> None:
    results = example_results(12)
    assert results.images[0] == results.images[1]
    now = labeled(results, list(range(1, 12)))  # the first subject was removed since
    judged = judged_by_folds(now, study(tmp_path, results), [laws_of(results)])
    assert judged.results.images == results.images[2:] and judged.note.startswith("1 labeled subjects")


def test_squared_scales_are_what_a_calibration_made_covariances_of() -> None:
    calibration, results = Calibration(len(NAMES)), example_results(12)
    calibration.set(radius=torch.tensor(7.0), covariance_scale=torch.tensor(1.7), covariance_slope=torch.tensor(0.4))
    scale = torch.rand(12, len(NAMES), dtype=torch.float64) * 9 + 1
    spread = torch.from_numpy(results.covariance)
    seen = Evidence(spread, *[torch.ones_like(scale)] * 3)
    made = replace(results, covariance=calibration.covariance(seen, scale).numpy(), scale=np.full(12, 70.0))
    expected = scale.square()[..., None, None] * unit_covariance(spread)
    back = as_scales(made, CovarianceLaw.of(calibration), 0.1).covariance
    np.testing.assert_allclose(back, expected.numpy(), rtol=1e-6)
