"""Backbones, the decoder, heads, and the network made of them."""

from softpoint.models.backbones import MoveNet, Small, Timm, Torchvision
from softpoint.models.decoder import FusionDecoder
from softpoint.models.ensemble import Ensemble, Network
from softpoint.models.finder import Finder
from softpoint.models.heads import ChannelSoftmaxHead, Head, RegressionHead, SimCCHead, SoftArgmaxHead
from softpoint.models.keypoint_net import KeypointNet

__all__ = [
    "ChannelSoftmaxHead", "Ensemble", "Finder", "FusionDecoder", "Head", "KeypointNet", "MoveNet", "Network",
    "RegressionHead", "SimCCHead", "Small", "SoftArgmaxHead", "Timm", "Torchvision",
]  # fmt: skip
