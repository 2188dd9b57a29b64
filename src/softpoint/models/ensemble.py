"""Several networks that predict as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from jaxtyping import Float
from torch import Tensor, nn

from softpoint.layers import Calibration
from softpoint.models.average import average
from softpoint.models.keypoint_net import KeypointNet
from softpoint.types import Prediction

MAX_MEMBERS = 64


class Ensemble(nn.Module):
    """Networks of the same keypoints, whose mean heatmaps are read by one head and calibrated once.

    The covariance grows with the distance between the networks' points (`average`). Takes the time of all of them.
    Source: Lakshminarayanan et al., Deep ensembles, arXiv:1612.01474.

    Args:
        num_keypoints: K.
        members: each is called with `num_keypoints` and returns a `KeypointNet`, whose own calibration is dropped.

    Raises ValueError for no member or more than `MAX_MEMBERS`, and for members of other channels or with other heads.
    """

    def __init__(self, num_keypoints: int, members: Sequence[Callable[..., KeypointNet]]) -> None:
        super().__init__()
        if not 1 <= len(members) <= MAX_MEMBERS:
            raise ValueError(f"an ensemble has 1 to {MAX_MEMBERS} members, got {len(members)}")
        self.num_keypoints = num_keypoints
        nets: list[KeypointNet] = []
        for make in members:
            net = make(num_keypoints=num_keypoints)
            if not isinstance(net, KeypointNet):
                raise ValueError(f"a member of an ensemble is a {type(net).__name__}, not a KeypointNet")
            if nets and (difference := _difference(nets[0], net)):
                raise ValueError(f"members of an ensemble must read keypoints alike: {difference}")
            del net.calibration
            nets.append(net)
        self.members = nn.ModuleList(nets)
        self.calibration = Calibration(num_keypoints)

    @property
    def nets(self) -> list[KeypointNet]:
        """The members."""
        return cast(list[KeypointNet], list(self.members))

    @property
    def head(self) -> Any:
        """The head that reads the mean heatmaps, which is the first member's."""
        return self.nets[0].head

    @property
    def backbone(self) -> Any:
        """The backbone of the first member."""
        return self.nets[0].backbone

    @property
    def in_channels(self) -> int:
        """Channels of the images."""
        return self.nets[0].in_channels

    @property
    def stride(self) -> int:
        """Number of pixels that both sides of an image must be multiples of."""
        return max(net.stride for net in self.nets)

    @property
    def attention(self) -> nn.ModuleDict:
        """The attention blocks of all members."""
        blocks = ((i, *block) for i, net in enumerate(self.nets) for block in net.attention.items())
        return nn.ModuleDict({f"member {i + 1}, {place}": block for i, place, block in blocks})

    def forward(self, image: Float[Tensor, "B C H W"] | Tensor) -> Prediction:
        """Return the prediction, in pixels of `image`, as `KeypointNet.forward` does."""
        prediction: Prediction = self.calibration(self.uncalibrated(image), self.head.stride)
        return prediction

    def uncalibrated(self, image: Float[Tensor, "B C H W"] | Tensor) -> Prediction:
        """Return what the head reads from the mean of what the members predict."""
        return average([net.uncalibrated(image) for net in self.nets], self.head)


Network = KeypointNet | Ensemble


def _difference(first: KeypointNet, other: KeypointNet) -> str:
    """Return what differs in how two networks read keypoints; "" for nothing."""
    for what, own, others in zip(("channels", "head"), *(_reading(net) for net in (first, other)), strict=True):
        if own != others:
            return f"the {what} of the first is {own}, and of another {others}"
    return ""


def _reading(net: KeypointNet) -> tuple[Any, ...]:
    settings = {name: getattr(net.head, name, None) for name in ("stride", "decode", "window", "bins")}
    settings["visibility"] = getattr(net.head, "visibility", None) is not None
    named = ", ".join(f"{name}={value}" for name, value in settings.items() if value is not None)
    return net.in_channels, f"{type(net.head).__name__}({named})"
