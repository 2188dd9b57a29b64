"""Test-time flip averaging: what a network sees in an image and in its mirror, put together."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softpoint.functional import grid_to_image
from softpoint.labels.skeleton import Skeleton
from softpoint.models import KeypointNet

# Which axis of a prediction's map runs along x.
_MAPS = ("logits", "classes", "axis_x")


def flip_average(net: KeypointNet, skeleton: Skeleton, unpaired: bool = False) -> FlipAverage:
    """`net` averaged over an image and its mirror, in which left and right keypoints change places.

    Raises ValueError for a skeleton without flip pairs, unless `unpaired` says that it really has none.
    """
    if not skeleton.flip_pairs and not unpaired:
        raise ValueError(
            f"tta=flip: of {len(skeleton)} keypoints ({', '.join(skeleton.names[:4])}...) none are known to be a left"
            " and a right, and a mirror would mix up any that are; name them in training by"
            " data.flip_pairs=[[LEFT,RIGHT],...], or evaluate with tta_unpaired=true where there are truly none"
        )
    return FlipAverage(net, skeleton.flip_index)


class FlipAverage(nn.Module):
    """A network that predicts from the mean of two heatmaps: an image's, and its mirror's turned back.

    Probabilities are averaged, then read as the head reads its own, and calibrated as the network does; a head of
    1-D distributions averages those, one of coordinates the coordinates. It takes twice the time.

    Args:
        net: shares its weights, and stays as it is.
        flip_index: which keypoint stands at each position after a mirror (see `Skeleton.flip_index`).
    """

    def __init__(self, net: KeypointNet, flip_index: Sequence[int]) -> None:
        super().__init__()
        mirrored = copy.copy(net)
        mirrored._modules = {**net._modules, "head": _MirroredHead(net.head, flip_index)}
        self.net = mirrored

    @property
    def head(self) -> nn.Module:
        """The head of the network itself."""
        return self.net.head.head  # type: ignore[union-attr, return-value]

    @property
    def calibration(self) -> nn.Module:
        """The calibration of the network itself."""
        return self.net.calibration  # type: ignore[return-value]

    def forward(self, image: Float[Tensor, "B 3 H W"] | Tensor) -> dict[str, Any]:
        """As `KeypointNet.forward`; ValueError for a width that the network would pad.

        Cells of an image and of its mirror fall on each other only where they fill it.
        """
        if image.shape[-1] % self.net.stride:
            raise ValueError(
                f"tta=flip: image width {image.shape[-1]} is not divisible by the network's stride {self.net.stride},"
                " so that its cells and its mirror's do not meet; set data.size to a multiple"
            )
        return self.net(torch.cat([image, image.flip(-1)]))


class _MirroredHead(nn.Module):
    """Reads features of images (B, ...) followed by those of their mirrors (B, ...) as B predictions."""

    def __init__(self, head: Any, flip_index: Sequence[int]) -> None:
        super().__init__()
        self.head, self.flip_index, self.stride = head, list(flip_index), head.stride

    def forward(self, features: Float[Tensor, "N C h w"]) -> dict[str, Tensor]:
        prediction, width = self.head(features), features.shape[-1]
        halves = {name: value.chunk(2) for name, value in prediction.items()}
        seen = {name: half[0] for name, half in halves.items()}
        mirror = {name: self._back(name, half[1], width) for name, half in halves.items()}
        return {**{name: (seen[name] + mirror[name]) / 2 for name in seen}, **self._read(seen, mirror)}

    def _back(self, name: str, value: Tensor, width: int) -> Tensor:
        """What a mirror's prediction says about the image itself; its maps are `width` cells wide."""
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

    def _read(self, seen: dict[str, Tensor], mirror: dict[str, Tensor]) -> dict[str, Tensor]:
        """What is not a plain mean of both: probabilities are averaged, and positions read from them."""
        found = {"logits": _mean(seen["logits"], mirror["logits"], (-2, -1))}
        if "visibility" in seen:
            found["visibility"] = _mean(seen["visibility"], mirror["visibility"], (-1,))
        if "axis_x" in seen:
            found |= {name: _mean(seen[name], mirror[name], (-1,)) for name in ("axis_x", "axis_y")}
            return self.head.read_axes(found["axis_x"], found["axis_y"]) | found
        if "classes" in seen:
            found["classes"] = _mean(seen["classes"], mirror["classes"], (1,))
            found["logits"] = found["classes"][:, :-1]
            confidence = found["logits"].amax((-2, -1)).exp()
            return found | self.head.read(found["logits"]) | {"confidence": confidence}
        return found if "mean" in seen else found | self.head.read(found["logits"])


def _mean(a: Tensor, b: Tensor, dim: tuple[int, ...]) -> Tensor:
    """Logits of the mean of two distributions over `dim`, in float32."""
    logs = [x.float() - x.float().logsumexp(dim, keepdim=True) for x in (a, b)]
    return torch.logaddexp(*logs) - math.log(2)
