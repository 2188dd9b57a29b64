"""Lightning's side: the module, the loss it minimises, schedules and callbacks."""

from softpoint.training.loss import CoordinateTerm, HeatmapTerm, KeypointLoss, VarianceTerm, VisibilityTerm
from softpoint.training.module import KeypointModule

__all__ = ["CoordinateTerm", "HeatmapTerm", "KeypointLoss", "KeypointModule", "VarianceTerm", "VisibilityTerm"]
