"""Heads: from a fine feature map to keypoints, one way a file."""

from softpoint.models.heads.channel_softmax import ChannelSoftmaxHead
from softpoint.models.heads.regression import RegressionHead
from softpoint.models.heads.simcc import SimCCHead
from softpoint.models.heads.soft_argmax import SoftArgmaxHead
from softpoint.models.heads.visibility import VisibilityReadout

__all__ = ["ChannelSoftmaxHead", "RegressionHead", "SimCCHead", "SoftArgmaxHead", "VisibilityReadout"]
