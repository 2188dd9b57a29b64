"""From a fine feature map to keypoints."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from softpoint.functional import (
    grid_to_image,
    spatial_covariance,
    spatial_expectation,
    spatial_softmax,
    window_expectation,
    window_mass,
)
from softpoint.functional.spatial import check_temperature


class SoftArgmaxHead(nn.Module):
    """One logit map per keypoint, read by spatial softmax and soft-argmax.

    Args:
        in_channels, stride: of the features.
        temperature: divides the logits; below 1 sharper, above 1 softer.
        window: odd number of cells about each maximum that the coordinate and the confidence are read from.
        whole_map: take the coordinate from the whole map instead, as plain soft-argmax does.
    """

    def __init__(
        self,
        in_channels: int,
        num_keypoints: int,
        stride: int,
        temperature: float = 1.0,
        window: int = 9,
        whole_map: bool = False,
    ) -> None:
        super().__init__()
        check_temperature(temperature)
        self.stride = stride
        self.temperature = temperature
        self.window = window
        self.whole_map = whole_map
        self.logits = nn.Conv2d(in_channels, num_keypoints, 1)

    def forward(self, features: Float[Tensor, "B C h w"]) -> dict[str, Tensor]:
        """`logits` (B, K, h, w) after the temperature, and what `decode` reads from them."""
        logits = self.logits(features) / self.temperature
        return {"logits": logits, **self.decode(logits)}

    def decode(self, logits: Float[Tensor, "B K h w"]) -> dict[str, Tensor]:
        """`keypoints` (B, K, 2) in input pixels, `confidence` (B, K), `covariance` (B, K, 2, 2) in px^2.

        Confidence is the heatmap's mass within the window about its maximum, covariance the heatmap's
        second moment; both in float32 whatever the logits are.
        """
        heatmap = spatial_softmax(logits.float())
        cells = spatial_expectation(heatmap) if self.whole_map else window_expectation(heatmap, self.window)
        return {
            "keypoints": grid_to_image(cells, self.stride),
            "confidence": window_mass(heatmap, self.window),
            "covariance": spatial_covariance(heatmap) * self.stride**2,
        }
