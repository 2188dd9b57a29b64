"""What all heads share."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softpoint.functional import (
    decode_heatmap,
    grid_to_image,
    spatial_covariance,
    spatial_softmax,
    window_mass,
)
from softpoint.models.heads.visibility import VisibilityReadout


class Head(nn.Module):
    """Reads keypoints from features: a child makes its maps in `predict`, and says in `own` what a loss trains.

    Args:
        stride: of the features.
        decode: how a coordinate is read from a heatmap, see `decode_heatmap`.
        window: odd number of cells about a maximum that are read.

    A child creates its own layers first and `visibility`, a `VisibilityReadout` or None, last.
    Raises ValueError for an unknown `decode` and an even `window`.
    """

    own: ClassVar[frozenset[str]] = frozenset()
    visibility: VisibilityReadout | None

    def __init__(self, stride: int, decode: str = "window", window: int = 9) -> None:
        super().__init__()
        decode_heatmap(torch.ones(1, 1, device="cpu"), decode, window)  # says what is wrong with them
        self.stride, self.decode, self.window = stride, decode, window

    @property
    def trains(self) -> frozenset[str]:
        """What a loss may train: `own`, and "visibility" with that readout."""
        return self.own if self.visibility is None else self.own | {"visibility"}

    def forward(self, features: Float[Tensor, "B C h w"]) -> dict[str, Tensor]:
        """`logits` (B, K, h, w), whose spatial softmax is the heatmap, and the keypoints.

        `keypoints` (B, K, 2) in input pixels, `confidence` (B, K), `covariance` (B, K, 2, 2) in px^2, what else the
        child gives, and with a `VisibilityReadout` `visibility`: the logits (B, K, 3) of absent, occluded and visible.
        """
        prediction = self.predict(features)
        if self.visibility is not None:
            prediction["visibility"] = self.visibility(features, prediction["logits"])
        return prediction

    def predict(self, features: Float[Tensor, "B C h w"]) -> dict[str, Tensor]:
        """Everything but visibility."""
        raise NotImplementedError

    def read(self, logits: Float[Tensor, "B K h w"]) -> dict[str, Tensor]:
        """`keypoints` (B, K, 2) in input pixels, `confidence` (B, K) and `covariance` (B, K, 2, 2) in px^2 of heatmaps.

        Confidence is the heatmap's mass within the window about its maximum, covariance the heatmap's
        second moment; all in float32 whatever the logits are.
        """
        heatmap = spatial_softmax(logits.float())
        return {
            "keypoints": grid_to_image(decode_heatmap(heatmap, self.decode, self.window), self.stride),
            "confidence": window_mass(heatmap, self.window),
            "covariance": spatial_covariance(heatmap) * self.stride**2,
        }
