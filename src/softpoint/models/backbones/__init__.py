"""Networks that turn an image into features at several strides.

Each advertises `stages`, `stride` and `out_channels` (one entry per returned feature) and the `mean` and
`std` its input is standardized by.
"""

from softpoint.models.backbones.backbone import Backbone
from softpoint.models.backbones.small import Small
from softpoint.models.backbones.timm import Timm
from softpoint.models.backbones.torchvision import Torchvision

__all__ = ["Backbone", "Small", "Timm", "Torchvision"]
