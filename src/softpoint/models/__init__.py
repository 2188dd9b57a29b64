"""Backbones, the decoder, heads, and the network they make."""

from softpoint.models.backbones import Small, Timm, Torchvision
from softpoint.models.decoder import FusionDecoder
from softpoint.models.heads import ChannelSoftmaxHead, RegressionHead, SimCCHead, SoftArgmaxHead
from softpoint.models.keypoint_net import KeypointNet

__all__ = [
    "ChannelSoftmaxHead", "FusionDecoder", "KeypointNet", "RegressionHead", "SimCCHead", "Small", "SoftArgmaxHead",
    "Timm", "Torchvision",
]  # fmt: skip
