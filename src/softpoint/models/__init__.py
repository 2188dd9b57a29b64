"""Backbones, the decoder, heads, and the network they make."""

from softpoint.models.backbones import Small, Timm, Torchvision
from softpoint.models.decoder import FusionDecoder
from softpoint.models.heads import SoftArgmaxHead
from softpoint.models.keypoint_net import KeypointNet

__all__ = ["FusionDecoder", "KeypointNet", "Small", "SoftArgmaxHead", "Timm", "Torchvision"]
