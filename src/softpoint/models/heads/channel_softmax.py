"""Keypoints as classes of pixels."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from softpoint.models.heads.head import Head
from softpoint.types import Prediction


class ChannelSoftmaxHead(Head):
    """Every cell is one of K keypoints or background: a softmax over channels, as in semantic segmentation.

    The heatmap of a keypoint is its class probability, as a share of the whole map's. It is the one head whose
    confidence, the class probability at the maximum, falls by itself where a keypoint is not in the image.

    Args:
        in_channels, stride: of the features.
        decode: method that reads a coordinate from the heatmap: window, expectation, argmax or dark.
        window: odd number of cells about each maximum that the coordinate is read from.
        visibility: predict whether each keypoint is absent, occluded or visible, see `SoftArgmaxHead`.

    >>> import torch
    >>> head = ChannelSoftmaxHead(in_channels=8, num_keypoints=3, stride=4)
    >>> head(torch.zeros(1, 8, 16, 16))["classes"].shape
    torch.Size([1, 4, 16, 16])
    """

    parts = frozenset({"classes"})

    def __init__(
        self,
        in_channels: int,
        num_keypoints: int,
        stride: int,
        decode: str = "window",
        window: int = 9,
        visibility: bool | None = None,
    ) -> None:
        super().__init__(in_channels, num_keypoints, stride, decode, window)
        self.classes = nn.Conv2d(in_channels, num_keypoints + 1, 1)
        self.set_visibility(visibility)

    def predict(self, features: Float[Tensor, "B C h w"]) -> Prediction:
        """Return the prediction with `classes` (B, K + 1, h, w), logits of which the last is of background."""
        classes = self.classes(features)
        # The softmax over cells of log p is p as a share of its sum.
        logits = classes.float().log_softmax(1)[:, :-1]
        return {**self.read(logits), "confidence": logits.amax((-2, -1)).exp(), "classes": classes}
