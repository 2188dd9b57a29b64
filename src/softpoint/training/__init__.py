"""Lightning's side: the module, the loss it minimises, schedules and callbacks."""

from softpoint.training.calibrate import Calibrate
from softpoint.training.loss import KeypointLoss
from softpoint.training.module import KeypointModule
from softpoint.training.pixel_classes import PixelClassTerm
from softpoint.training.record import Record
from softpoint.training.semi import SemiSupervisedModule
from softpoint.training.terms import (
    AxisTerm,
    CoordinateTerm,
    HeatmapTerm,
    LikelihoodTerm,
    VarianceTerm,
    VisibilityTerm,
)

__all__ = [
    "AxisTerm", "Calibrate", "CoordinateTerm", "HeatmapTerm", "KeypointLoss", "KeypointModule",
    "LikelihoodTerm", "PixelClassTerm", "Record", "SemiSupervisedModule", "VarianceTerm", "VisibilityTerm",
]  # fmt: skip
