"""A residual backbone small enough to train in minutes on two CPU cores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor, nn

from softpoint.models.backbones.backbone import check_stages, run_blocks
from softpoint.models.backbones.weights import load_weights


class Small(nn.Module):
    """A two-convolution stem and one residual block per stage, widths doubling from stage 2 on.

    Stage k has stride 2^k, the features that feature pyramids call C_k.

    Args:
        width: channels at stride 4.
        depth: residual blocks per stage.
        stages: stages whose features forward returns, ascending, from 2 (stride 4) to 5 (stride 32).
        weights: a local safetensors file to start from.

    >>> net = Small(width=16, stages=(2, 4))
    >>> net.out_channels, net.stride
    ((16, 64), (4, 16))
    """

    # Name and license (None if unknown) of the weights that it started from.
    started_from: dict[str, str | None] | None = None
    recompute = False  # compute the features within a block again in the backward pass
    mean = (0.5, 0.5, 0.5)
    std = (0.25, 0.25, 0.25)

    def __init__(
        self, width: int = 16, depth: int = 1, stages: Sequence[int] = (2, 3, 4, 5), weights: str | Path | None = None
    ) -> None:
        super().__init__()
        self.stages = check_stages(stages, range(2, 6))
        self.stride = tuple(2**stage for stage in stages)
        self.out_channels = tuple(width * 2 ** (stage - 2) for stage in stages)
        self.stem = nn.Sequential(
            _conv(3, width // 2, stride=2), nn.ReLU(), _conv(width // 2, width, stride=2), nn.ReLU()
        )
        self.body = nn.ModuleList()
        for stage in range(2, stages[-1] + 1):
            out = width * 2 ** (stage - 2)
            first = ResidualBlock(width, out) if stage == 2 else ResidualBlock(out // 2, out, stride=2)
            self.body.append(nn.Sequential(first, *(ResidualBlock(out, out) for _ in range(depth - 1))))
        if weights is not None:
            load_weights(self, weights)
            self.started_from = {"weights": Path(weights).name, "license": None}

    def forward(self, image: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        return run_blocks([self.stem, *self.body], [stage - 1 for stage in self.stages], image, self.recompute)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al., arXiv:1512.03385)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = _conv(in_channels, out_channels, stride)
        self.conv2 = _conv(out_channels, out_channels)
        same = in_channels == out_channels and stride == 1
        self.stride = stride
        self.shortcut = nn.Identity() if same else _conv(in_channels, out_channels, kernel=1)
        self.relu = nn.ReLU()

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        # Skipping pixels before the 1 x 1 convolution equals striding it, whose backward pass on a CPU
        # writes outside its memory for narrow tensors with channels last (torch 2.14).
        shortcut = self.shortcut(x[..., :: self.stride, :: self.stride])
        y: Tensor = self.relu(shortcut + self.conv2(self.relu(self.conv1(x))))
        return y


def _conv(in_channels: int, out_channels: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out_channels)
    )
