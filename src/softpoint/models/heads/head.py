"""The common part of all heads."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softpoint.functional import decode_heatmap, grid_to_image, map_statistics, spatial_softmax
from softpoint.functional.gaussian_fit import read_window
from softpoint.models.heads.visibility import VisibilityReadout
from softpoint.types import Prediction


class Head(nn.Module):
    """Reads keypoints from features (B, C, h, w).

    A child creates its layers, calls `set_visibility` last, and implements `predict`. It is built with `in_channels`,
    `num_keypoints` and `stride`, and with settings of its own. See `examples/own_modules/` for one in another package.

    Args:
        in_channels, stride: of the features.
        num_keypoints: K.
        decode: method that reads a coordinate from a heatmap, see `decode_heatmap`.
        window: odd number of cells about a maximum that are read.

    Raises ValueError for an unknown `decode` and an even `window`.
    """

    # Parts of the prediction that a loss may train, such as logits; `LossTerm.needs` names one of them.
    parts: ClassVar[frozenset[str]] = frozenset({"logits"})
    visibility: VisibilityReadout | None

    def __init__(
        self, in_channels: int, num_keypoints: int, stride: int, decode: str = "window", window: int = 9
    ) -> None:
        super().__init__()
        decode_heatmap(torch.ones(1, 1, device="cpu"), decode, window)  # raises what is wrong with them
        self.in_channels, self.num_keypoints, self.stride = in_channels, num_keypoints, stride
        self.decode, self.window = decode, window
        self.set_visibility(None)

    def set_visibility(self, visibility: bool | None) -> None:
        """Predict states of keypoints (`VisibilityReadout`) or not; None leaves it to `KeypointModule`."""
        self.predicts_visibility = visibility
        self.visibility = VisibilityReadout(self.in_channels, self.num_keypoints) if visibility else None

    @property
    def provides(self) -> frozenset[str]:
        """Parts of the prediction that a loss may train: `parts`, and "visibility" where states are predicted."""
        return self.parts if self.visibility is None else self.parts | {"visibility"}

    @property
    def trains_map(self) -> bool:
        """Whether a loss trains the heatmap cell by cell, so that it can show several likely places."""
        return bool(self.parts & {"logits", "classes"})

    def forward(self, features: Float[Tensor, "B C h w"]) -> Prediction:
        """Return the prediction in input pixels, in which the spatial softmax of `logits` is the heatmap."""
        prediction = self.predict(features)
        if self.visibility is not None:
            prediction["visibility"] = self.visibility(features, prediction["logits"])
        return prediction

    def predict(self, features: Float[Tensor, "B C h w"]) -> Prediction:
        """Return all of the prediction but visibility."""
        raise NotImplementedError

    def read(self, logits: Float[Tensor, "B K h w"]) -> Prediction:
        """Return the prediction that a heatmap gives, in float32 whatever the logits are.

        Confidence is the heatmap's mass within the window about its maximum, covariance its second moment in px^2.
        """
        maps = logits.float()
        read = map_statistics(maps)
        position, mass = read_window(maps, self.window, read)
        if self.decode == "expectation":
            position = read.mean
        elif self.decode != "window":
            position = decode_heatmap(spatial_softmax(maps), self.decode, self.window)
        return {
            "logits": logits,
            "keypoints": grid_to_image(position, self.stride),
            "confidence": mass,
            "covariance": read.covariance * self.stride**2,
        }
