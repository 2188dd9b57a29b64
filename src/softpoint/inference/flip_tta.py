"""Test-time flip averaging: one prediction from an image and its mirror."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softpoint.functional import grid_to_image
from softpoint.inference.run_record import number
from softpoint.labels.skeleton import Skeleton
from softpoint.layers import Calibration
from softpoint.models import Network
from softpoint.models.average import average
from softpoint.types import Prediction

# Parts of a prediction whose last axis runs along x.
_MAPS = ("logits", "classes", "axis_x")


def choose_tta(skeleton: Skeleton, record: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return what tta=auto is for a model with this record, flip or None, and the reason.

    It is flip where the errors on the validation images were smaller with it, beyond chance.
    """
    if not skeleton.can_mirror:
        return None, "tta=auto: no averaging with the mirror image, as not all left and right keypoints are known"
    if (change := measured_change(record)) is None:
        way = "softpoint calibrate does, by two or more independent validation images"
        return None, f"tta=auto: no averaging with the mirror image, as its calibration has not measured that; {way}"
    measured = "changed its errors on the validation images by {:+.2f} to {:+.2f} px (95 % interval)".format(*change)
    if change[1] < 0:
        return "flip", f"tta=auto: averaging with the mirror image, which {measured}"
    return None, f"tta=auto: no averaging with the mirror image, which {measured}"


def measured_change(record: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the interval in px by which flip averaging changed a model's errors; None where it was not measured."""
    stored = record.get("flip_change")
    ends = [number(end) for end in stored] if isinstance(stored, list | tuple) else []
    return (ends[0], ends[1]) if len(ends) == 2 and ends[0] is not None and ends[1] is not None else None


def flip_average(net: Network, skeleton: Skeleton, unpaired: bool = False) -> FlipAverage:
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

    def __init__(self, net: Network, flip_index: Sequence[int]) -> None:
        super().__init__()
        self.net, self.flip_index = net, list(flip_index)

    @property
    def head(self) -> Any:
        """The head of the network itself."""
        return self.net.head

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
        """Return the prediction, as `KeypointNet.forward` does; ValueError for a width that the network would pad."""
        prediction: Prediction = self.calibration(self.alone_and_averaged(image)[1], self.head.stride)
        return prediction

    def alone_and_averaged(self, image: Float[Tensor, "B C H W"] | Tensor) -> tuple[Prediction, Prediction]:
        """Return what the head reads, not calibrated, of images alone and averaged; ValueError as `forward`.

        The cells of an image and of its mirror coincide only where they fill the width.
        """
        if image.shape[-1] % self.net.stride:
            raise ValueError(
                f"tta=flip: image width {image.shape[-1]} is not divisible by the network's stride {self.net.stride},"
                " so that the cells of an image and of its mirror differ; set data.size to a multiple"
            )
        both: Any = self.net.uncalibrated(torch.cat([image, image.flip(-1)]))
        seen, mirror = ({name: value.chunk(2)[half] for name, value in both.items()} for half in (0, 1))
        width = mirror["logits"].shape[-1]
        mirror = {name: self._flip_back(name, value, width) for name, value in mirror.items()}
        alone = cast(Prediction, seen)
        return alone, average([alone, cast(Prediction, mirror)], self.head)

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
