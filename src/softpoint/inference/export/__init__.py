"""Checkpoints as files that run elsewhere: preprocessing, network, decoding and calibration in one."""

from softpoint.inference.export.export import FORMATS, LIMIT, PRECISIONS, ExportOptions, export
from softpoint.inference.export.parity import ComparisonImage, Difference

__all__ = ["FORMATS", "LIMIT", "PRECISIONS", "ComparisonImage", "Difference", "ExportOptions", "export"]
