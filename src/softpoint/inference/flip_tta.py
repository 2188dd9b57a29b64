"""Test-time flip averaging: one prediction from an image and its mirror."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softpoint.functional import grid_to_image
from softpoint.labels.skeleton import Skeleton
from softpoint.layers import Calibration
from softpoint.models import KeypointNet
from softpoint.types import Prediction

# Parts of a prediction whose last axis runs along x.
_MAPS = ("logits", "classes", "axis_x")


def flip_average(net: KeypointNet, skeleton: Skeleton, unpaired: bool = False) -> FlipAverage:
    """Return `net` averaged over an image and its mirror, in which left and right keypoints change places.

    Raises ValueError for a skeleton without flip pairs, or with a left or right keypoint that has no partner, unless
    `unpaired` states that none without a partner is a left or a right.
    """
    if skeleton.partnerless and not unpaired:
        raise ValueError(
            f"tta=flip: a mirror would confuse {', '.join(skeleton.partnerless)}, which have no partner among the"
            " keypoints; name all pairs in training by data.flip_pairs=[[LEFT,RIGHT],...], or evaluate with"
            " tta_unpaired=true if they are neither left nor right"
        )
    if not skeleton.flip_pairs and not unpaired:
        names = ", ".join([*skeleton.names[:4], *(["..."] if len(skeleton) > 4 else [])])
        raise ValueError(
            f"tta=flip: none of the {len(skeleton)} keypoints ({names}) is known as a left or a right one, and a mirror"
            " would confuse those; train with data.flip_pairs=[[LEFT,RIGHT],...], or set tta_unpaired=true if there are"
            " none"
        )
    return FlipAverage(net, skeleton.flip_index)


class FlipAverage(nn.Module):
    """A network that predicts from the mean of two heatmaps: an image's, and its mirror's flipped back.

    Probabilities are averaged, then read and calibrated as the network does its own; a head of 1-D distributions
    averages those, a head of coordinates the coordinates. It takes twice the time.

    Args:
        net: is not changed; its weights are shared.
        flip_index: for each keypoint, the index of the one that takes its place in a mirror (`Skeleton.flip_index`).
    """

    def __init__(self, net: KeypointNet, flip_index: Sequence[int]) -> None:
        super().__init__()
        mirrored = copy.copy(net)
        mirrored._modules = {**net._modules, "head": _MirroredHead(net.head, flip_index)}
        self.net = mirrored

    @property
    def head(self) -> Any:
        """The head of the network itself."""
        return self.net.head.head

    @property
    def calibration(self) -> Calibration:
        """The calibration of the network itself."""
        return self.net.calibration

    @property
    def in_channels(self) -> int:
        """That of the network itself."""
        return self.net.in_channels

    @property
    def stride(self) -> int:
        """That of the network itself."""
        return self.net.stride

    @property
    def attention(self) -> nn.ModuleDict:
        """The attention blocks of the network itself, which see images (B, ...) followed by their mirrors."""
        return self.net.attention

    def forward(self, image: Float[Tensor, "B C H W"] | Tensor) -> Prediction:
        """Return the prediction, as `KeypointNet.forward` does; ValueError for a width that the network would pad.

        The cells of an image and of its mirror coincide only where they fill the width.
        """
        if image.shape[-1] % self.net.stride:
            raise ValueError(
                f"tta=flip: image width {image.shape[-1]} is not divisible by the network's stride {self.net.stride},"
                " so that the cells of an image and of its mirror differ; set data.size to a multiple"
            )
        prediction: Prediction = self.net(torch.cat([image, image.flip(-1)]))
        return prediction


class _MirroredHead(nn.Module):
    """Reads features of images (B, ...) followed by those of their mirrors (B, ...) as B predictions."""

    def __init__(self, head: Any, flip_index: Sequence[int]) -> None:
        super().__init__()
        self.head, self.flip_index, self.stride = head, list(flip_index), head.stride

    def forward(self, features: Float[Tensor, "N C h w"]) -> Prediction:
        halves = {name: value.chunk(2) for name, value in self.head(features).items()}
        image = {name: half[0] for name, half in halves.items()}
        mirror = {name: self._flip_back(name, half[1], features.shape[-1]) for name, half in halves.items()}
        means = {name: (image[name] + mirror[name]) / 2 for name in image}
        return cast(Prediction, means | self._combine(image, mirror))

    def _flip_back(self, name: str, value: Tensor, width: int) -> Tensor:
        """Return a part of the mirror's prediction as one of the image itself; maps are `width` cells wide."""
        order = [*self.flip_index, *range(len(self.flip_index), value.shape[1])]  # background stays last
        value = value[:, order]
        if name in _MAPS:
            return value.flip(-1)
        if name in ("keypoints", "mean"):
            last = width - 1 if name == "mean" else 2 * grid_to_image(torch.tensor((width - 1) / 2), self.head.stride)
            return torch.stack([last - value[..., 0], value[..., 1]], -1)
        if name == "covariance":
            return value * value.new_tensor([[1, -1], [-1, 1]])
        return value

    def _combine(self, image: dict[str, Tensor], mirror: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the parts that are no plain means: averaged probabilities, and the positions read from them."""
        parts = {"logits": _mean_logits(image["logits"], mirror["logits"], (-2, -1))}
        if "visibility" in image:
            parts["visibility"] = _mean_logits(image["visibility"], mirror["visibility"], (-1,))
        if "axis_x" in image:
            parts |= {name: _mean_logits(image[name], mirror[name], (-1,)) for name in ("axis_x", "axis_y")}
            return {**self.head.read_axes(parts["axis_x"], parts["axis_y"]), **parts}
        if "classes" in image:
            parts["classes"] = _mean_logits(image["classes"], mirror["classes"], (1,))
            parts["logits"] = parts["classes"][:, :-1]
            confidence = parts["logits"].amax((-2, -1)).exp()
            return {**parts, **self.head.read(parts["logits"]), "confidence": confidence}
        return parts if "mean" in image else {**parts, **self.head.read(parts["logits"])}


def _mean_logits(a: Tensor, b: Tensor, dim: tuple[int, ...]) -> Tensor:
    """Logits of the mean of two distributions over `dim`, in float32."""
    logs = [x.float() - x.float().logsumexp(dim, keepdim=True) for x in (a, b)]
    return torch.logaddexp(*logs) - math.log(2)
