"""Backbones: networks from an image to features at several strides.

Each has `stages`, `stride` and `out_channels` (one entry per returned feature), and the `mean` and `std` by which its
input is standardized.
"""

from softpoint.models.backbones.backbone import Backbone, take_channels
from softpoint.models.backbones.movenet import MoveNet
from softpoint.models.backbones.small import Small
from softpoint.models.backbones.timm import Timm
from softpoint.models.backbones.torchvision import Torchvision

__all__ = ["Backbone", "MoveNet", "Small", "Timm", "Torchvision", "take_channels"]
