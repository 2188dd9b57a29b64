"""Lightning's side: the module, the loss it minimizes, schedules and callbacks."""

from softpoint.training.calibrate import Calibrate
from softpoint.training.loss import KeypointLoss
from softpoint.training.loss_terms import (
    AxisTerm,
    CoordinateTerm,
    HeatmapTerm,
    LikelihoodTerm,
    VarianceTerm,
    VisibilityTerm,
)
from softpoint.training.mean_teacher import SemiSupervisedModule
from softpoint.training.module import KeypointModule
from softpoint.training.pixel_classes import PixelClassTerm
from softpoint.training.record import Record

__all__ = [
    "AxisTerm", "Calibrate", "CoordinateTerm", "HeatmapTerm", "KeypointLoss", "KeypointModule",
    "LikelihoodTerm", "PixelClassTerm", "Record", "SemiSupervisedModule", "VarianceTerm", "VisibilityTerm",
]  # fmt: skip
