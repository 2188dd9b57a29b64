"""Modules of published methods: attention, spatial softmax, calibration, normalization."""

from softpoint.layers.calibration import Calibration
from softpoint.layers.dynamic_spatial_attention import DynamicSpatialAttention
from softpoint.layers.group_norm import GroupNorm, replace_batch_norms
from softpoint.layers.normalize import Normalize
from softpoint.layers.spatial_attention import SpatialAttention
from softpoint.layers.spatial_soft_argmax import SpatialSoftArgmax
from softpoint.layers.spatial_softmax import SpatialSoftmax
from softpoint.layers.stage_norm import StageNorm, in_second_stage, second_stage, separate_norms
from softpoint.layers.subject_mark import SubjectMark

__all__ = [
    "Calibration", "DynamicSpatialAttention", "GroupNorm", "Normalize", "SpatialAttention", "SpatialSoftArgmax",
    "SpatialSoftmax", "StageNorm", "SubjectMark", "in_second_stage", "replace_batch_norms", "second_stage",
    "separate_norms",
]  # fmt: skip
