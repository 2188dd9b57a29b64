"""A head of your own: this class, and `head/deep.yaml`.

`parts` names what a loss may train. Logits fit the default loss; a head with another part of its prediction, such as
an embedding, names it there, and a `LossTerm` that needs this part trains it.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from softpoint.models import Head
from softpoint.types import Prediction


class DeepHead(Head):
    """One logit map per keypoint, from two convolutions instead of one.

    Args:
        in_channels, stride: of the features.
        hidden: channels between the two convolutions.
        decode, window, visibility: as of `softpoint.models.SoftArgmaxHead`.

    >>> import torch
    >>> DeepHead(in_channels=8, num_keypoints=3, stride=4)(torch.zeros(1, 8, 16, 16))["keypoints"].shape
    torch.Size([1, 3, 2])
    """

    parts: ClassVar[frozenset[str]] = frozenset({"logits"})

    def __init__(
        self,
        in_channels: int,
        num_keypoints: int,
        stride: int,
        hidden: int = 64,
        decode: str = "window",
        window: int = 9,
        visibility: bool | None = None,
    ) -> None:
        super().__init__(in_channels, num_keypoints, stride, decode, window)
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, hidden, 3, padding=1), nn.ReLU(), nn.Conv2d(hidden, num_keypoints, 1)
        )
        self.set_visibility(visibility)

    def predict(self, features: Tensor) -> Prediction:
        """Return the prediction that the logit maps of features (B, C, h, w) give."""
        return self.read(self.layers(features))
