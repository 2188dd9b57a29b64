"""Keypoint metrics over labelled points in original pixels: torchmetrics classes and functional twins."""

from softpoint.metrics.functional import epe, nme, pck
from softpoint.metrics.keypoint import EPE, NME, PCK

__all__ = ["EPE", "NME", "PCK", "epe", "nme", "pck"]
