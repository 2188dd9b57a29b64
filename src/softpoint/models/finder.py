"""The stage that finds subjects in whole images, so that another can read the keypoints of each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softpoint.models.backbones import Backbone, take_channels
from softpoint.types import CenterMaps

# Sides of a box, in cells, from which the training starts.
_FIRST_SIDE = 16.0


class Finder(nn.Module):
    """Maps of the centers of subjects, and of their boxes.

    The spatial softmax of the centers has one more place, with the logit 0, for "no further subject": the exponential
    of a logit is then the number of subjects that the network expects in a cell, whatever else is in the image.

    Args:
        shared: the backbone of the network that reads the keypoints.
        decoder: called with `in_channels` and `in_strides`, returns the module that fuses features.
        backbone: one of the finder's own, or a class that is called without arguments and returns it; None to use the
            shared one.
        in_channels: of the images.

    `calibration` holds slope and offset of the logistic function that turns the logarithm of an expected number into
    the probability that there is a subject; see `training.finder_fit`.
    """

    calibration: Tensor
    stride: int

    def __init__(
        self,
        shared: Backbone,
        decoder: Callable[..., nn.Module],
        backbone: Backbone | Callable[[], Backbone] | None = None,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        given: Any = backbone
        self.backbone: nn.Module | None = given if given is None or isinstance(given, nn.Module) else given()
        if self.backbone is not None and in_channels != 3:
            take_channels(cast(Any, self.backbone), in_channels)
        features = cast(Backbone, self.backbone or shared)
        made: Any = decoder(in_channels=features.out_channels, in_strides=features.stride)
        self.decoder, self.stride = made, made.stride
        self.centers = nn.Conv2d(made.out_channels, 1, 1)
        self.boxes = nn.Conv2d(made.out_channels, 4, 1)
        nn.init.constant_(cast(Tensor, self.centers.bias), -8.0)  # no subject, over some thousand cells
        with torch.no_grad():
            cast(Tensor, self.boxes.bias).copy_(torch.tensor([0.0, 0.0, *[math.log(_FIRST_SIDE)] * 2]))
        # A half where a half is expected, until it is fitted.
        self.register_buffer("calibration", torch.tensor([4.0, 4.0 * math.log(2)]))

    def forward(self, features: list[Tensor]) -> CenterMaps:
        """Return the maps (B, 1, h, w) and (B, 4, h, w), in float32 whatever the features are."""
        x = self.decoder(features)
        return CenterMaps(self.centers(x).float(), self.boxes(x).float())

    def score(self, expected: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the probability of a subject where so many are expected."""
        slope, offset = self.calibration.unbind()
        return (slope * expected.clamp_min(1e-12).log() + offset).sigmoid()
