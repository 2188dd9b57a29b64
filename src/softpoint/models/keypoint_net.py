"""The whole network: raw pixels in, keypoints out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from softpoint.layers import Calibration, Normalize
from softpoint.models.backbones import Backbone


class KeypointNet(nn.Module):
    """normalize -> backbone -> attention -> decoder -> attention -> head -> calibration.

    Args:
        num_keypoints: K.
        backbone: gives features and advertises `stages`, `stride`, `out_channels`, `mean` and `std`.
        decoder: called with `in_channels` and `in_strides`, makes the module that fuses features.
        head: called with `in_channels`, `num_keypoints` and `stride`, makes the module that reads keypoints.
        attention: called without arguments, makes one spatial attention block per place; None, or nothing
            in a mapping, for none.
        attention_stages: backbone stages after which a block stands (stage k has stride 2^k).
        attention_before_head: whether a block stands between decoder and head.
        pad: extend an image whose sides are no multiples of the largest stride with zeros at its right
            and bottom, which leaves every coordinate as it is; otherwise such an image is an error.

    Raises ValueError for an attention stage that the backbone does not return, and on an image whose
    size does not fit.
    """

    backbone: Backbone
    decoder: Any

    def __init__(
        self,
        num_keypoints: int,
        backbone: Backbone,
        decoder: Callable[..., nn.Module],
        head: Callable[..., nn.Module],
        attention: Callable[[], nn.Module] | Mapping | None = None,
        attention_stages: Sequence[int] = (),
        attention_before_head: bool = True,
        pad: bool = False,
    ) -> None:
        super().__init__()
        if num_keypoints is None or num_keypoints < 1:
            raise ValueError(f"num_keypoints must be at least 1, got {num_keypoints}")
        if absent := set(attention_stages) - set(backbone.stages):
            raise ValueError(
                f"model.attention_stages names stage {min(absent)}, but the backbone returns "
                f"{', '.join(map(str, backbone.stages))}; add it to backbone.stages or choose one of these"
            )
        self.num_keypoints = num_keypoints
        self.pad = pad
        self.normalize = Normalize(backbone.mean, backbone.std)
        self.backbone = backbone
        self.decoder = decoder(in_channels=backbone.out_channels, in_strides=backbone.stride)
        self.head = head(in_channels=self.decoder.out_channels, num_keypoints=num_keypoints, stride=self.decoder.stride)
        places = [f"stage{stage}" for stage in attention_stages] + ["head"] * attention_before_head
        self.attention = nn.ModuleDict({place: attention() for place in places} if callable(attention) else {})
        self.calibration = Calibration(num_keypoints)

    @property
    def stride(self) -> int:
        """What both sides of an image must be multiples of."""
        return max(self.backbone.stride)

    def forward(self, image: Float[Tensor, "B 3 H W"] | Tensor, return_attention: bool = False) -> dict:
        """Predictions of the head, in pixels of `image` (uint8, or float in [0, 1]).

        `confidence` is the probability of an error up to `calibration.radius` px and `covariance` that of the error,
        once the calibration is fitted; before, what the head itself makes of its heatmaps.
        With `return_attention`, `attention` maps each place of a block to what the block returns beside
        the features: its mask (B, 1, h, w), and router weights if it is set to give them.
        """
        size = image.shape[-2:]
        features = self.backbone(self._fit(self.normalize(image)))
        seen: dict[str, list[Tensor]] = {}
        for i, stage in enumerate(self.backbone.stages):
            features[i] = self._attend(f"stage{stage}", features[i], seen)
        x = self._attend("head", self.decoder(features), seen)
        if self.pad:
            x = x[..., : -(-size[0] // self.decoder.stride), : -(-size[1] // self.decoder.stride)]
        prediction = self.calibration(self.head(x), self.decoder.stride)
        return {**prediction, "attention": seen} if return_attention else prediction

    def _attend(self, place: str, x: Tensor, seen: dict[str, list[Tensor]]) -> Tensor:
        if place not in self.attention:
            return x
        x, *seen[place] = self.attention[place](x)
        return x

    def _fit(self, image: Tensor) -> Tensor:
        missing = {"height": -image.shape[-2] % self.stride, "width": -image.shape[-1] % self.stride}
        if not any(missing.values()):
            return image
        if self.pad:
            return F.pad(image, (0, missing["width"], 0, missing["height"]))
        side = "height" if missing["height"] else "width"
        length = image.shape[-2 if side == "height" else -1]
        raise ValueError(
            f"image {side} {length} is not divisible by the network's stride {self.stride}; set data.size to "
            f"a multiple, such as {length + missing[side]}, or model.pad=true"
        )
