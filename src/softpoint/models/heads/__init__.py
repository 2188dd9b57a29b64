"""Heads, which read keypoints from a fine feature map; one per file."""

from softpoint.models.heads.channel_softmax import ChannelSoftmaxHead
from softpoint.models.heads.head import Head
from softpoint.models.heads.regression import RegressionHead
from softpoint.models.heads.simcc import SimCCHead
from softpoint.models.heads.soft_argmax import SoftArgmaxHead
from softpoint.models.heads.visibility import VisibilityReadout

__all__ = ["ChannelSoftmaxHead", "Head", "RegressionHead", "SimCCHead", "SoftArgmaxHead", "VisibilityReadout"]
