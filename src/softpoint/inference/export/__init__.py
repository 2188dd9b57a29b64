"""Checkpoints as files that run elsewhere: preprocessing, network, decoding and calibration in one."""

from softpoint.inference.export.export import FORMATS, LIMIT, PRECISIONS, Plan, export
from softpoint.inference.export.parity import Difference, View

__all__ = ["FORMATS", "LIMIT", "PRECISIONS", "Difference", "Plan", "View", "export"]
