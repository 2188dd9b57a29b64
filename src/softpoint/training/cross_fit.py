"""The calibration of a model that learned every image, by a cross-validation of its recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from softpoint.evaluation.bootstrap import count_units, find_units
from softpoint.evaluation.results import Results
from softpoint.inference import Checkpoint
from softpoint.inference.checkpoint_content import Content, read_content
from softpoint.metrics.conformal import mahalanobis
from softpoint.training.region_fit import region_bounds

CROSSVAL = "crossval"  # as the record of a run names it
_PREFIX = "calibration."


def fold_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of the folds in the output folder of `softpoint crossval`; none in any other."""
    return sorted(folder.glob("seed*/fold*/checkpoints/best.ckpt"))


class CrossFit(NamedTuple):
    """Values for `Calibration.set`, and what they were fitted on."""

    values: dict[str, Tensor]
    folds: int
    images: int
    units: int
    kind: str  # "groups" or "images"
    radius: float  # in pixels of the original images

    @property
    def facts(self) -> dict[str, Any]:
        """What the record of the run keeps of it."""
        return {"calibration_units": self.units, "calibration_radius": self.radius, "calibrated_by": CROSSVAL}

    def __str__(self) -> str:
        return (
            f"confidence: the probability that a point is within {self.radius:.1f} px, as in the {self.folds} folds;"
            f" regions fitted on {self.images} images that their folds did not learn; independent units:"
            f" {count_units(self.units, self.kind)}"
        )


def cross_fitted(checkpoint: Checkpoint, folder: Path) -> CrossFit:
    """Return the mean calibration of the folds in the output folder of `softpoint crossval`, with regions of all.

    The regions hold the errors of every fold on the images that it did not learn (cross-conformal prediction, Vovk,
    arXiv:1208.0806). Raises FileNotFoundError for a folder without finished folds, and ValueError for folds of other
    keypoints, of another network or of another input than the checkpoint.
    """
    paths = fold_checkpoints(folder)
    if not paths or not (folder / "predictions.csv").is_file():
        raise FileNotFoundError(
            f"crossval={folder} holds no finished cross-validation; name the output folder of softpoint crossval"
        )
    contents = [read_content(path) for path in paths]
    for content in contents:
        _check_alike(checkpoint, content)
    columns = {
        name: torch.stack([content.weights[_PREFIX + name].double() for content in contents])
        for name in checkpoint.net.calibration.state_dict()
        if name not in ("region_radii", "set_tails")
    }
    values = {name: column.mean(0) for name, column in columns.items()}
    values["covariance_scale"] = columns["covariance_scale"].log().mean(0).exp()
    results = Results.read(folder / "predictions.csv")
    unit, kind = find_units(results.images, results.groups)
    distance = mahalanobis(results.keypoints - results.truth, results.covariance)
    values["region_radii"] = region_bounds(distance, unit)
    values["set_tails"] = torch.zeros_like(values["region_radii"])  # predictions.csv holds no heatmaps
    radius = float(np.mean([content.record.get("calibration_radius", np.nan) for content in contents]))
    return CrossFit(values, len(paths), len(set(results.images)), int(unit.max()) + 1, kind, radius)


def _check_alike(checkpoint: Checkpoint, content: Content) -> None:
    """Raise ValueError for a fold whose errors are not those of the checkpoint's recipe, or that is not calibrated."""
    other, *_ = _networks(content.config["model"])
    model = next((own for own in _networks(checkpoint.config["model"]) if own != other), other)
    for what, own, of_fold in (
        ("keypoints", list(checkpoint.skeleton.names), list(content.skeleton.names)),
        ("input", checkpoint.size, content.size),
        ("network", model, other),
    ):
        if own != of_fold:
            raise ValueError(
                f"{content.path} has another {what} than {checkpoint.path}; cross-validate with the settings of its"
                " training, such as data.size= and model="
            )
    if not float(content.weights.get(f"{_PREFIX}radius", torch.tensor(0.0))) > 0:
        raise ValueError(f"{content.path} is not calibrated; softpoint calibrate ckpt={content.path} does it")


def _networks(model: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the config of each network of a model, without the statistics of images, which differ between folds."""
    return [{**member, "mean": None, "std": None} for member in model.get("members", [model])]
