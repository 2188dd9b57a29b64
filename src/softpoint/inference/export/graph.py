"""All that stands between an image's bytes and its keypoints, as one module that can be exported."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from softpoint.functional import spatial_softmax
from softpoint.inference.checkpoint import Checkpoint
from softpoint.inference.export.resample import cropped, letterboxed, resample


class ExportModule(nn.Module):
    """Raw images in, keypoints in their own pixels out: resizing, network, decoding and calibration in one.

    It answers as a `Predictor` of the same checkpoint does.

    Args:
        checkpoint: gives the network, the size of its input, and how it was shown crops. It stays as it is.
        heatmaps: also answer what the keypoints were read from.
        half: compute backbone, attention and decoder in float16.
    """

    def __init__(self, checkpoint: Checkpoint, heatmaps: bool = False, half: bool = False) -> None:
        super().__init__()
        self.net = _halved(checkpoint.net) if half else checkpoint.net
        self.size, self.heatmaps = checkpoint.size, heatmaps
        self.padding = checkpoint.crops["padding"] if checkpoint.crops else None
        visibility = getattr(checkpoint.net.head, "visibility", None) is not None
        self.answers = [
            "keypoints", "confidence", "covariance", *["visibility"] * visibility, *["heatmaps"] * heatmaps
        ]  # fmt: skip

    def forward(
        self, images: UInt8[Tensor, "B H W 3"], boxes: Float[Tensor, "B 4"] | None = None
    ) -> tuple[Tensor, ...]:
        """`answers` of RGB images, or of `boxes` (left, top, right, bottom) in them, one each.

        `keypoints` (B, K, 2), `confidence` (B, K), `covariance` (B, K, 2, 2) in px^2, `visibility` (B, K, 3), the
        probabilities of absent, hidden and visible, and `heatmaps` (B, K, h, w) over the cells of the network.
        """
        if self.padding is None or boxes is None:
            placed = letterboxed((images.shape[1], images.shape[2]), self.size, images)
        else:
            placed = cropped(boxes, self.size, self.padding)
        found = self.net(resample(images, placed, self.size) / 255)
        scale = placed.scale.float()[..., None, None]
        answers = {
            "keypoints": (found["keypoints"] - placed.offset.float().unsqueeze(-2)) / scale,
            "confidence": found["confidence"],
            "covariance": found["covariance"] / scale[..., None].square(),
        }
        if "visibility" in self.answers:
            answers["visibility"] = found["visibility"].float().softmax(-1)
        if self.heatmaps:
            answers["heatmaps"] = spatial_softmax(found["logits"].float())
        return tuple(answers[name] for name in self.answers)


def _halved(net: Any) -> Any:
    """A copy whose features are float16; the head reads them in float32, for coordinates beyond 256 need more."""
    net = copy.deepcopy(net)
    for part in (net.backbone, net.attention, net.decoder):
        part.half()
    net.backbone.register_forward_pre_hook(lambda _, given: tuple(x.half() for x in given))
    net.head.register_forward_pre_hook(lambda _, given: tuple(x.float() for x in given))
    return net


def varying(given: Sequence[Tensor], any_size: bool) -> list[dict[int, Any]]:
    """Which dimensions of the inputs a program takes in any length: the batch, and of images of `any_size` those."""
    free = torch.export.Dim.DYNAMIC
    return [{0: free} | ({1: free, 2: free} if any_size and i == 0 else {}) for i in range(len(given))]


def example(module: ExportModule, size: tuple[int, int], batch: int = 2) -> tuple[Tensor, ...]:
    """Images (B, H, W, 3) to trace with, and boxes where the network was trained on crops."""
    images = torch.randint(0, 256, (batch, *size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    if module.padding is None:
        return (images,)
    return images, torch.tensor([[-0.5, -0.5, size[1] - 0.5, size[0] - 0.5]]).repeat(batch, 1)
