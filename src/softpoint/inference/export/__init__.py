"""Checkpoints as files that run elsewhere: preprocessing, network, decoding and calibration in one."""

from softpoint.inference.export.export import FORMATS, MAX_DIFFERENCE, ExportOptions, Subjects, export
from softpoint.inference.export.parity import ComparisonImage, Difference

__all__ = ["FORMATS", "MAX_DIFFERENCE", "ComparisonImage", "Difference", "ExportOptions", "Subjects", "export"]
