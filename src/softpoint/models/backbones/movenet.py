"""The backbone of MoveNet: a MobileNetV2 whose batch normalizations are folded into biases."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from softpoint.models.backbones.backbone import check_stages, run_blocks
from softpoint.models.backbones.weights import load_weights

_log = logging.getLogger(__name__)

# Of each group of inverted residuals: how many, and the stride of the first.
_REPEATS, _STRIDES = (2, 3, 4, 3, 3, 1), (2, 2, 2, 1, 2, 1)
_EXPANSION = 6


class MoveNet(nn.Module):
    """The MobileNetV2 of Google's MoveNet, a network for the poses of people.

    It has no normalization: that of its training is part of its weights and biases. A stride of 2 pads zeros at the
    right and bottom alone, as TensorFlow does for even sizes.
    Source: Sandler et al., MobileNetV2, arXiv:1801.04381; tensorflow.org/hub/tutorials/movenet.

    Args:
        name: of the published weights, "movenet_lightning" or "movenet_thunder".
        widths: channels of the stem, of the first block, and of each group of blocks.
        stages: stages whose features forward returns, ascending, from 2 (stride 4) to 5 (stride 32).
        pretrained: start from NAME.safetensors in `folder`; None starts from random weights, with a warning, where
            there is no such file.
        weights: a local safetensors file to start from.
        folder: of the files that `softpoint weights fetch` makes.

    Raises FileNotFoundError for weights that are not there.

    >>> net = MoveNet("movenet_lightning", stages=(2, 5))
    >>> net.out_channels, net.stride
    ((24, 320), (4, 32))
    """

    # Name and license (None if unknown) of the weights that it started from.
    started_from: dict[str, str | None] | None = None
    recompute = False  # compute the features within a block again in the backward pass
    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)

    def __init__(
        self,
        name: str,
        widths: Sequence[int] = (32, 16, 24, 32, 64, 96, 160, 320),
        stages: Sequence[int] = (2, 3, 4, 5),
        pretrained: bool | None = False,
        weights: str | Path | None = None,
        folder: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        if len(widths) != 2 + len(_REPEATS):
            raise ValueError(f"backbone.widths must be {2 + len(_REPEATS)} numbers of channels, got {list(widths)}")
        self.stages = check_stages(stages, range(2, 6))
        self.stride = tuple(2**stage for stage in self.stages)
        stem, first, *groups = widths
        self.stem = nn.Conv2d(3, stem, 3, stride=2)
        self.depth = nn.Conv2d(stem, stem, 3, padding=1, groups=stem)
        self.project = nn.Conv2d(stem, first, 1)
        self.blocks = nn.ModuleList()
        stage, channels, ends = 1, first, {}
        for width, repeats, stride in zip(groups, _REPEATS, _STRIDES, strict=True):
            stage += stride == 2
            if stage > self.stages[-1]:
                break
            for i in range(repeats):
                self.blocks.append(InvertedResidual(channels, width, stride if i == 0 else 1))
                channels = width
            ends[stage] = (len(self.blocks) - 1, width)
        self._returned = tuple(ends[stage][0] for stage in self.stages)
        self.out_channels = tuple(ends[stage][1] for stage in self.stages)
        _initialize(self)
        self._start(name, pretrained, weights, folder)

    def forward(self, image: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        x: Tensor = self.project(F.relu6(self.depth(F.relu6(self.stem(_pad(image))))))
        return run_blocks(self.blocks, self._returned, x, self.recompute)

    def _start(self, name: str, pretrained: bool | None, weights: str | Path | None, folder: str | Path | None) -> None:
        """Load weights where there are any."""
        path = Path(folder or "") / f"{name}.safetensors"
        if weights is None and pretrained is not False and not path.is_file():
            message = f"no weights of {name} at {path}; softpoint weights fetch {name} gets them"
            if pretrained:
                raise FileNotFoundError(f"{message}, or start without: backbone.pretrained=false")
            _log.warning("%s. This run starts from random weights, which costs much accuracy on few labels", message)
        elif weights is not None or pretrained is not False:
            blocks = (f"blocks.{i}.{part}" for i in range(sum(_REPEATS)) for part in ("expand", "depth", "project"))
            spare = [f"{part}.{kind}" for part in blocks for kind in ("weight", "bias")]  # of stages left out
            load_weights(self, weights or path, spare=spare)
            self.started_from = {"weights": f"Google MoveNet SinglePose 4, {name}", "license": "Apache-2.0"}
            if weights is not None:
                self.started_from = {"weights": Path(weights).name, "license": None}


class InvertedResidual(nn.Module):
    """An expansion, a depthwise convolution and a linear projection, added to the input where shapes agree."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        inner = in_channels * _EXPANSION
        self.expand = nn.Conv2d(in_channels, inner, 1)
        self.depth = nn.Conv2d(inner, inner, 3, stride, padding=int(stride == 1), groups=inner)
        self.project = nn.Conv2d(inner, out_channels, 1)
        self.adds = stride == 1 and in_channels == out_channels

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        inner = F.relu6(self.expand(x))
        inner = F.relu6(self.depth(inner if self.depth.padding[0] else _pad(inner)))
        y: Tensor = self.project(inner)
        return x + y if self.adds else y


def _pad(x: Tensor) -> Tensor:
    """The features with zeros below and at the right, for a convolution of stride 2."""
    return F.pad(x, (0, 1, 0, 1))


def _initialize(net: nn.Module) -> None:
    """Draw random weights that keep the variance of features, which no normalization would restore."""
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear" if name.endswith("project") else "relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
