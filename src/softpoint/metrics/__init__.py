"""Keypoint metrics over labeled points in original pixels: torchmetrics classes and functional twins."""

from softpoint.metrics.functional import epe, nme, pck
from softpoint.metrics.keypoint import EPE, NME, PCK
from softpoint.metrics.visibility import VisibilityScores, visibility_scores

__all__ = ["EPE", "NME", "PCK", "VisibilityScores", "epe", "nme", "pck", "visibility_scores"]
