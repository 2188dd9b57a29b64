"""Checkpoints as files that run elsewhere: preprocessing, network, decoding and calibration in one."""

from softpoint.inference.export.check import Difference, View
from softpoint.inference.export.export import FORMATS, LIMIT, PRECISIONS, Plan, export

__all__ = ["FORMATS", "LIMIT", "PRECISIONS", "Difference", "Plan", "View", "export"]
