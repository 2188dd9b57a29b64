"""Training with Lightning: the module, its loss, schedules and callbacks."""

from softpoint.training.calibrate import Calibrate
from softpoint.training.finder_fit import ValidateFinder
from softpoint.training.finder_loss import FinderLoss
from softpoint.training.loss import KeypointLoss, keypoint_loss
from softpoint.training.loss_terms import (
    AxisTerm,
    CoordinateTerm,
    HeatmapTerm,
    LikelihoodTerm,
    LossTerm,
    VarianceTerm,
    VisibilityTerm,
)
from softpoint.training.mean_teacher import MeanTeacher
from softpoint.training.module import KeypointModule
from softpoint.training.pixel_classes import PixelClassTerm
from softpoint.training.record import Record
from softpoint.training.target import Target

__all__ = [
    "AxisTerm", "Calibrate", "CoordinateTerm", "FinderLoss", "HeatmapTerm", "KeypointLoss", "KeypointModule",
    "LikelihoodTerm", "LossTerm", "MeanTeacher", "PixelClassTerm", "Record", "Target",
    "ValidateFinder", "VarianceTerm", "VisibilityTerm", "keypoint_loss",
]  # fmt: skip
