"""A calibration by the folds of a cross-validation: their mean, with regions of all of their errors."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.results import NAMES, example_results
from softpoint.evaluation.regions import held_out_regions
from softpoint.inference import read_checkpoint
from softpoint.metrics.conformal import mahalanobis, region_radii
from softpoint.training.cross_fit import cross_fitted


@pytest.fixture
def folds(run: Path, tmp_path: Path) -> Path:
    """The output of a cross-validation of two folds, which differ in their calibration."""
    for fold in (0, 1):
        path = tmp_path / f"seed0/fold{fold}/checkpoints/best.ckpt"
        path.parent.mkdir(parents=True)
        stored: dict[str, Any] = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
        stored["state_dict"]["net.calibration.log_scale"] += fold
        stored["state_dict"]["net.calibration.covariance_scale"] = torch.tensor(2.0 * 4**fold)
        stored["record"]["calibration_radius"] = 3.0 + fold
        torch.save(stored, path)
    example_results(40).write(tmp_path / "predictions.csv")
    return tmp_path


def test_values_are_means_and_regions_of_all_predictions(run: Path, folds: Path) -> None:
    checkpoint = read_checkpoint(run / "checkpoints/best.ckpt")
    assert checkpoint.skeleton.names == NAMES
    fit, before = cross_fitted(checkpoint, folds), checkpoint.net.calibration.log_scale.double()
    torch.testing.assert_close(fit.values["log_scale"], before + 0.5)
    assert fit.values["covariance_scale"].item() == pytest.approx(4.0)  # the geometric mean
    results = example_results(40)
    distance = mahalanobis(results.keypoints - results.truth, results.covariance)
    unit = np.unique(results.groups, return_inverse=True)[1]
    assert (fit.folds, fit.units, fit.kind) == (2, 6, "groups")
    np.testing.assert_allclose(fit.values["region_radii"][0], region_radii(distance, unit, 0.5))
    assert (fit.values["region_radii"][1] == 0).all()  # 90 % takes nine groups
    assert fit.facts == {"calibration_units": 6, "calibration_radius": 3.5, "calibrated_by": "crossval"}
    assert "in the 2 folds" in str(fit) and "6 groups" in str(fit)


def test_regions_of_a_cross_validation_are_not_measured_on_images_that_they_were_fitted_on(run: Path) -> None:
    checkpoint = read_checkpoint(run / "checkpoints/best.ckpt")
    checkpoint.net.calibration.set(region_radii=torch.ones_like(checkpoint.net.calibration.region_radii))
    test = (checkpoint.splits or {})["test"]
    assert held_out_regions(checkpoint, "test", test)[0] is not None
    assert held_out_regions(replace(checkpoint, record={"calibrated_by": "crossval"}), "test", test)[0] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [({"size": (32, 32)}, "another input"), ({"config": {"model": {"backbone": "another"}}}, "another network")],
)
def test_folds_of_another_recipe_are_refused(run: Path, folds: Path, change: dict[str, Any], message: str) -> None:
    checkpoint = replace(read_checkpoint(run / "checkpoints/best.ckpt"), **change)
    with pytest.raises(ValueError, match=rf"fold0.*best\.ckpt has {message} than .*; cross-validate with the settings"):
        cross_fitted(checkpoint, folds)


def test_a_folder_without_folds_and_folds_without_calibration_are_refused(run: Path, folds: Path) -> None:
    checkpoint = read_checkpoint(run / "checkpoints/best.ckpt")
    path = folds / "seed0/fold1/checkpoints/best.ckpt"
    stored: dict[str, Any] = torch.load(path, weights_only=True)
    stored["state_dict"]["net.calibration.radius"] = torch.tensor(0.0)
    torch.save(stored, path)
    with pytest.raises(ValueError, match=r"fold1.* is not calibrated; softpoint calibrate ckpt="):
        cross_fitted(checkpoint, folds)
    shutil.rmtree(folds / "seed0")
    with pytest.raises(FileNotFoundError, match="holds no finished cross-validation; name the output folder"):
        cross_fitted(checkpoint, folds)
