"""One module from the bytes of images to keypoints, for export."""

from __future__ import annotations

import copy
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from softpoint.functional import spatial_softmax
from softpoint.inference.checkpoint import Checkpoint
from softpoint.inference.export.resample import FixedResample, Placement, cropped, letterboxed, resample


class ExportModule(nn.Module):
    """Predicts keypoints in the pixels of raw images: resizing, network, decoding and calibration.

    Its predictions are those of a `Predictor` of the same checkpoint.

    Args:
        checkpoint: has the network, which stays as it is, the size of its input, and the padding of crops.
        heatmaps: also return the heatmaps.
        half: compute backbone, attention and decoder in float16.
        image_size: (H, W) of every image, for which the weights of resizing become constants; None for any.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        heatmaps: bool = False,
        half: bool = False,
        image_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.net = _half(checkpoint.net) if half else checkpoint.net
        self.size, self.heatmaps = checkpoint.size, heatmaps
        self.padding = checkpoint.crops["padding"] if checkpoint.crops else None
        fixed = image_size if self.padding is None else None
        self.resample = None if fixed is None else FixedResample(fixed, self.size)
        visibility = getattr(checkpoint.net.head, "visibility", None) is not None
        self.outputs = [
            "keypoints", "confidence", "covariance", *["visibility"] * visibility, *["heatmaps"] * heatmaps
        ]  # fmt: skip

    def forward(
        self, images: UInt8[Tensor, "B H W C"], boxes: Float[Tensor, "B 4"] | None = None
    ) -> tuple[Tensor, ...]:
        """Return `outputs` for images, or for one box (left, top, right, bottom) in each.

        `keypoints` (B, K, 2), `confidence` (B, K), `covariance` (B, K, 2, 2) in px^2, `visibility` (B, K, 3), the
        probabilities of absent, occluded and visible, and `heatmaps` (B, K, h, w) over the cells of the network.
        """
        return self.read(*self._place(images, boxes))

    def read(self, placed: Placement, inputs: Float[Tensor, "B C h w"]) -> tuple[Tensor, ...]:
        """Return `outputs` for the network's inputs, of values of 0 to 255, and where the images are in them."""
        prediction = self.net(inputs / 255)
        scale = placed.scale.float()[..., None, None]
        results = {
            "keypoints": (prediction["keypoints"] - placed.offset.float().unsqueeze(-2)) / scale,
            "confidence": prediction["confidence"],
            "covariance": prediction["covariance"] / scale[..., None].square(),
        }
        if "visibility" in self.outputs:
            results["visibility"] = prediction["visibility"].float().softmax(-1)
        if self.heatmaps:
            results["heatmaps"] = spatial_softmax(prediction["logits"].float())
        return tuple(results[name] for name in self.outputs)

    def _place(self, images: Tensor, boxes: Tensor | None) -> tuple[Placement, Tensor]:
        """Return where the images are in the network's input, and that input with values of 0 to 255."""
        if self.resample is not None:
            return self.resample.placed, self.resample(images)
        if self.padding is None or boxes is None:
            placed = letterboxed((images.shape[1], images.shape[2]), self.size, images)
        else:
            placed = cropped(boxes, self.size, self.padding)
        return placed, resample(images, placed, self.size)


def _half(net: Any) -> Any:
    """Return a copy with float16 features, whose head is float32, as coordinates beyond 256 need it."""
    net = copy.deepcopy(net)
    for member in getattr(net, "nets", [net]):
        for part in (member.backbone, member.attention, member.decoder):
            part.half()
        member.backbone.register_forward_pre_hook(lambda _, inputs: tuple(x.half() for x in inputs))
        member.head.register_forward_pre_hook(lambda _, inputs: tuple(x.float() for x in inputs))
    return net


def example_inputs(module: ExportModule, size: tuple[int, int], batch: int = 2) -> tuple[Tensor, ...]:
    """Return images (B, H, W, C) to trace with, and boxes for a network that was trained on crops."""
    shape, generator = (batch, *size, module.net.in_channels), torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    if module.padding is None:
        return (images,)
    return images, torch.tensor([[-0.5, -0.5, size[1] - 0.5, size[0] - 0.5]]).repeat(batch, 1)
